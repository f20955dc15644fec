// The guest's network as the page tells it, and a guest that has one.
import { expect, type Page } from "@playwright/test";
import { Machine } from "./machine.ts";

/** What a fresh lease may take, or a way back after a relay's return: seconds of the back-off. */
const LINK_TIMEOUT = 45_000;

/** How a run of curl ended. */
export type Curl = { status: number; exit: number; seconds: number; text: string };

export class Guest extends Machine {
  /** Boots the full image with its network at `net`, and waits for its address. */
  static async boot(page: Page, engine: string, net: string, options: { start?: "head" | "cold"; link?: string } = {}): Promise<Guest> {
    // What is saved, and when, is the test's to say.
    await page.addInitScript(() => localStorage.setItem("vivarium.preferences", '{"autosave":false}'));
    const guest = await new Guest(page).open(`autoboot=0&net=${encodeURIComponent(net)}`);
    expect(await guest.boot({ engine, flavour: "full", start: options.start })).toEqual({ ok: true });
    await guest.link(options.link ?? "up");
    await guest.run("until ip -4 address show eth0 | grep -q inet; do sleep 0.2; done", LINK_TIMEOUT);
    return guest;
  }

  report(): Promise<VivariumNetworkStatus> {
    return this.page.evaluate(() => window.vivarium.network.status());
  }

  /** Waits until the relay's state is of this kind. */
  async link(type: string): Promise<void> {
    await expect.poll(async () => (await this.report()).relay.type, { timeout: LINK_TIMEOUT, intervals: [100] }).toBe(type);
  }

  /** Waits for a flow to this host that has carried `received` bytes, and answers with it. */
  async flow(host: string, received: number): Promise<VivariumFlow> {
    const find = async () => (await this.report()).flows.find((flow) => flow.host === host && flow.state === "open" && flow.received >= received);
    await expect.poll(find, { timeout: 30_000, intervals: [100] }).toBeTruthy();
    return (await find())!;
  }

  async policy(text: string): Promise<void> {
    await this.page.evaluate((text) => window.vivarium.network.setPolicy(text), text);
  }

  /** Runs curl; what it prints on both outputs is `text`. */
  async curl(args: string, timeout = 60_000): Promise<Curl> {
    const text = await this.run(`curl -sS ${args} -w '%{stderr}E=%{exitcode} H=%{http_code} T=%{time_total}\\n'`, timeout);
    const found = /E=(\d+) H=(\d+) T=([\d.]+)/.exec(text);
    expect(found, text).toBeTruthy();
    return { exit: Number(found![1]), status: Number(found![2]), seconds: Number(found![3]), text };
  }

  /** Puts the test's authority into the guest as /root/ca.pem. */
  async trust(ca: string): Promise<void> {
    await this.run(`cat > /root/ca.pem << 'EOF'\n${ca}EOF`);
    expect(await this.run("openssl x509 -in /root/ca.pem -noout -subject")).toContain("Vivarium test authority");
  }
}
