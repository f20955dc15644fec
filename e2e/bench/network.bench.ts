// `cargo xtask bench`: what the network costs. The guest's way to a server on loopback, side
// by side with v86's own; our relay alone, side by side with wisp-js; latency and memory.
// Prints tables and writes e2e/results/bench-{guest-network,relay}.json.
import { expect, test, type Browser, type Page } from "@playwright/test";
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { KERNELS } from "../pages/engines.ts";
import { Machine } from "../pages/machine.ts";
import type { Child } from "../servers/child.ts";
import { wispJs } from "../servers/peers.ts";
import { Plain } from "../servers/plain.ts";
import { Relay, program } from "../servers/relay.ts";
import { LARGE } from "../servers/web.ts";
import { WEB, World } from "../servers/world.ts";
import { RUNS, Table, machine, median, publish } from "./measure.ts";

const here = import.meta.dirname;

/** Bytes that a guest uploads: what fits into its memory disk beside a guest of 128 MiB. */
const UPLOAD = 16_000_000;

/** Idle streams: connections of as many as a relay lets one have at once. */
const IDLE = { connections: 4, streams: 90 };

type Ports = { source: number; sink: number; echo: number };

test("network of a guest", async ({ browser }) => {
  const table = new Table();
  const about = { ...machine(browser.version()), relay: built() };
  const world = await World.start();
  await guests(browser, table, world);
  await world.stop();
  publish("guest-network", about, table);
});

test("relay alone", async () => {
  const table = new Table();
  const { browser: _, ...about } = machine("none");
  await relays(table);
  publish("relay", { ...about, relay: built() }, table);
});

/** How the relay was built. */
function built(): string {
  return path.basename(path.dirname(program()));
}

/** Through an emulated guest: each engine with our gateway, and v86's own adapter, by turns. */
async function guests(browser: Browser, table: Table, world: World): Promise<void> {
  const relay = await Relay.start(world.flags(true));
  const ours = (engine: string) => async (page: Page) => {
    const machine = await new Machine(page).open(`autoboot=0&net=${encodeURIComponent(relay.url)}`);
    expect(await machine.boot({ engine, flavour: "busybox", memory: 128 })).toEqual({ ok: true });
    await machine.run("until ifconfig eth0 | grep -q inet; do sleep 0.2; done");
    await page.waitForFunction(() => window.vivarium.network.status().relay.type === "up");
    return { run: (command: string) => machine.run(command, 300_000), base: world.web.at(WEB), stop: async () => {} };
  };
  const theirs = async (page: Page) => {
    const plain = await Plain.boot(page, relay.url);
    const run = async (command: string) => (await plain.run(command)).output;
    return { run, base: `http://127.0.0.1:${world.web.port}/`, stop: () => plain.stop() };
  };
  const ways = [
    ...KERNELS.map(({ name }) => [`${name}, our gateway`, ours(name)] as const),
    ["v86, its own adapter", theirs] as const,
  ];
  for (let run = 0; run < RUNS; run++) {
    for (const [name, boot] of ways) {
      const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
      const guest = await boot(await context.newPage());
      const rate = async (what: string, bytes: number, command: string, proof: string) => {
        const start = performance.now();
        expect(await guest.run(command)).toContain(proof);
        const speed = (bytes * 1_000) / (performance.now() - start) / 1e6;
        table.put(`${name}: ${what}`, "MB/s", speed, "plain HTTP, server on loopback");
      };
      await guest.run(`wget -q -O /dev/null ${guest.base}status`);
      // wget fails if less comes than was announced, and the card counts, too. To count it in
      // the guest (`wc`) would cost the guest more than to get it.
      const received = "cat /sys/class/net/eth0/statistics/rx_bytes";
      const counted = `echo got_$(($(${received}) - before >= ${LARGE} ? 6*7 : 0))`;
      const get = `before=$(${received}); wget -q -O /dev/null ${guest.base}large && ${counted}`;
      await rate("download", LARGE, get, "got_42");
      // busybox's wget posts a file up to its first zero.
      await guest.run(`tr '\\0' x < /dev/zero | head -c ${UPLOAD} > /tmp/up`);
      await rate("upload", UPLOAD, `wget -q --post-file=/tmp/up -O - ${guest.base}sink`, `counted ${UPLOAD}`);
      await guest.stop();
      await context.close();
    }
  }
  await relay.kill();
}

/** The relay alone, and wisp-js in its place, with the same client and servers. */
async function relays(table: Table): Promise<void> {
  const peer = spawn(process.execPath, [path.join(here, "peer.mjs")], { stdio: ["pipe", "pipe", "inherit"] });
  const [line] = await once(peer.stdout!, "data");
  const ports = JSON.parse(`${line}`) as Ports;
  // Memory is measured, not patience: more streams a second than one client has to have.
  const config = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "vivarium-bench-")), "relay.toml");
  fs.writeFileSync(config, "[limits]\nconnects-burst = 1000\naddress-burst = 1000\n");
  const allowed = Object.values(ports).flatMap((port) => ["--allow-port", `${port}`]);
  const flags = ["--config", config, "--allow-cidr", "127.0.0.0/8", ...allowed];
  const servers: [string, () => Promise<Child>][] = [
    ["our relay", async () => (await Relay.start(flags)).process],
    ["wisp-js", () => wispJs(1)],
  ];
  const direct: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    direct.push(await roundTrip(ports.echo));
    for (const [name, start] of servers) {
      const server = await start();
      for (const streams of [1, 32]) {
        const words = streams === 1 ? "1 stream" : `${streams} streams`;
        table.put(`${name}: download, ${words}`, "MB/s", (await load(server.url, "download", ports.source, streams)) / 1e6);
        table.put(`${name}: upload, ${words}`, "MB/s", (await load(server.url, "upload", ports.sink, streams)) / 1e6);
      }
      table.put(`${name}: added round-trip time`, "ms", (await load(server.url, "latency", ports.echo, 1)) - direct.at(-1)!);
      await server.kill();
      const fresh = await start();
      table.put(`${name}: memory of an idle stream`, "kB", (await idle(fresh, ports.echo)) / 1e3);
      await fresh.kill();
    }
  }
  peer.stdin!.end();
  fs.rmSync(path.dirname(config), { recursive: true });
}

function client(url: string, mode: string, port: number, streams: number): string[] {
  return [path.join(here, "load.mjs"), JSON.stringify({ url, mode, host: "127.0.0.1", port, streams })];
}

async function load(url: string, mode: string, port: number, streams: number): Promise<number> {
  const { stdout } = await promisify(execFile)(process.execPath, client(url, mode, port, streams));
  return JSON.parse(stdout);
}

/** Resident bytes that each of many idle streams adds, the sockets' buffers in the kernel aside. */
async function idle(server: Child, port: number): Promise<number> {
  const clients: ChildProcess[] = [];
  const open = async (streams: number) => {
    const child = spawn(process.execPath, client(server.url, "idle", port, streams), { stdio: ["pipe", "pipe", "inherit"] });
    clients.push(child);
    await once(child.stdout!, "data");
  };
  for (let connection = 0; connection < IDLE.connections; connection++) await open(1);
  const before = server.memory();
  clients.splice(0).forEach((child) => child.stdin!.end());
  for (let connection = 0; connection < IDLE.connections; connection++) await open(IDLE.streams);
  const after = server.memory();
  clients.forEach((child) => child.stdin!.end());
  await Promise.all(clients.map((child) => once(child, "exit")));
  return (after - before) / (IDLE.connections * (IDLE.streams - 1));
}

/** Median round trip of a byte without a relay, in milliseconds. */
async function roundTrip(port: number): Promise<number> {
  const socket = net.connect({ host: "127.0.0.1", port, noDelay: true });
  await once(socket, "connect");
  const trips: number[] = [];
  for (let trip = 0; trip < 2_000; trip++) {
    const start = performance.now();
    socket.write("x");
    await once(socket, "data");
    trips.push(performance.now() - start);
  }
  socket.destroy();
  return median(trips);
}
