// v86 with its own WISP client, in a page of its own: a foreign client for our relay, and
// what our way is measured against. It runs the small flavour of our image.
import type { Page } from "@playwright/test";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import zlib from "node:zlib";
import type { AddressInfo } from "node:net";

const root = path.resolve(import.meta.dirname, "../..");
const image = path.join(root, "image/out/i386");

type Part = { path: string; stored?: number };
type Peer = {
  boot(relay: string, cmdline: string): Promise<void>;
  run(command: string): Promise<{ status: number; output: string }>;
};

/**
 * v86's client connects by address, and the servers of the tests have only that of loopback.
 * So the guest gives up its own loopback and looks for it behind the network card.
 */
const ROUTES = [
  "killall -q udhcpc; true",
  "ip link set eth0 up",
  "ip addr flush dev eth0",
  "ip addr add 192.168.86.100/24 dev eth0",
  "ip addr del 127.0.0.1/8 dev lo",
  "echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet",
  "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter",
  "echo 0 > /proc/sys/net/ipv4/conf/eth0/rp_filter",
  "ip route add 127.0.0.0/8 via 192.168.86.1",
];

export class Plain {
  private constructor(
    private readonly server: http.Server,
    private readonly page: Page,
  ) {}

  /** Boots it in `page`, with a relay that lets loopback through by address. */
  static async boot(page: Page, relay: string): Promise<Plain> {
    const manifest = JSON.parse(fs.readFileSync(path.join(image, "busybox.json"), "utf8"));
    const server = http.createServer((request, response) => {
      const found = files(manifest)[request.url ?? "/"];
      if (!found) return void response.writeHead(404).end();
      response.setHeader("Content-Type", found.type);
      response.end(found.read());
    });
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    const plain = new Plain(server, page);
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    await page.waitForFunction(() => "peer" in window);
    // `wisp` is how v86 is told to speak it.
    const arguments_ = [relay.replace(/^ws/, "wisp"), manifest.cmdline as string] as const;
    await page.evaluate(([relay, cmdline]) => (window as never as { peer: Peer }).peer.boot(relay, cmdline), arguments_);
    for (const command of ROUTES) {
      const { status, output } = await plain.run(command);
      if (status !== 0) throw new Error(`${command}: ${output}`);
    }
    return plain;
  }

  run(command: string): Promise<{ status: number; output: string }> {
    return this.page.evaluate((command) => (window as never as { peer: Peer }).peer.run(command), command);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((closed) => this.server.close(closed));
  }
}

function files(manifest: Record<"kernel" | "initrd", Part> & { firmware: Record<"bios" | "vgabios", Part> }) {
  const file = (type: string, ...place: string[]) => ({ type, read: () => fs.readFileSync(path.join(root, ...place)) });
  const part = ({ path: name, stored }: Part) => ({
    type: "application/octet-stream",
    read: () => {
      const bytes = fs.readFileSync(path.join(image, name));
      return stored ? zlib.inflateSync(bytes) : bytes;
    },
  });
  const all: Record<string, { type: string; read(): Buffer }> = {
    "/": file("text/html", "e2e/interop/v86.html"),
    "/libv86.mjs": file("text/javascript", "node_modules/v86/build/libv86.mjs"),
    "/v86.wasm": file("application/wasm", "node_modules/v86/build/v86.wasm"),
    "/image/kernel": part(manifest.kernel),
    "/image/initrd": part(manifest.initrd),
    "/image/bios": part(manifest.firmware.bios),
    "/image/vgabios": part(manifest.firmware.vgabios),
  };
  return all;
}
