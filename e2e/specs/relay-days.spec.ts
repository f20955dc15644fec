// What a relay does on a bad day, and what the guest sees of it.
import { expect } from "@playwright/test";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { eachKernel } from "../pages/engines.ts";
import { Guest } from "../pages/network.ts";
import { Relay, program } from "../servers/relay.ts";
import { LARGE, LARGE_SHA256 } from "../servers/web.ts";
import { WEB, test } from "../servers/world.ts";

/** From the end of a relay to the end of a transfer in the guest. */
const SOON_MS = 8_000;

/** Interruptions of the flapping test; the long one has fifty. */
const FLAPS = Number(process.env.VIVARIUM_FLAPS ?? 10);

/** How long a relay that ends waits for streams that go on; half a minute, were it not told. */
const DRAIN_S = 3;

/** What may be under way between the guest and a relay that stands still. */
const UNDER_WAY = 6_000_000;

eachKernel(({ name: engine }) => {
  test("a relay that is killed ends a transfer at once, and is found again", async ({ page, world, relay }) => {
    const guest = await Guest.boot(page, engine, relay.url);
    const running = guest.curl(`${world.web.at(WEB, "paced")} -o /dev/null`);
    await guest.flow(WEB, 300_000);
    const start = Date.now();
    await relay.kill();
    const result = await running;
    expect(Date.now() - start).toBeLessThan(SOON_MS);
    expect(result.exit, result.text).toBeGreaterThan(0);
    await guest.link("backingOff");
    const meanwhile = await guest.curl(world.web.at(WEB, "status"));
    expect(meanwhile.exit).toBeGreaterThan(0);
    expect(meanwhile.seconds).toBeLessThan(2);
    await relay.again();
    await guest.link("up");
    expect(await guest.curl(world.web.at(WEB, "status"))).toMatchObject({ status: 200, exit: 0 });
    expect(guest.errors).toEqual([]);
  });

  test("a relay that ends in good order lets go of everything", async ({ page, world }) => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "vivarium-relay-"));
    const config = path.join(folder, "relay.toml");
    fs.writeFileSync(config, `[timeouts]\ndrain = ${DRAIN_S}\n`);
    const relay = await Relay.start(["--config", config, ...world.flags()]);
    try {
      const guest = await Guest.boot(page, engine, relay.url);
      const running = guest.curl(`${world.web.at(WEB, "slow")} -o /dev/null`, 60_000);
      await guest.flow(WEB, 1);
      const start = Date.now();
      expect(await relay.stop()).toBe(0);
      expect(Date.now() - start).toBeGreaterThan(DRAIN_S * 900);
      expect((await running).exit).toBeGreaterThan(0);
      await relay.again();
      await guest.link("up");
      expect(await guest.curl(world.web.at(WEB, "status"))).toMatchObject({ status: 200 });
    } finally {
      await relay.kill();
      fs.rmSync(folder, { recursive: true });
    }
  });

  test("a download through a relay that stands still for a while is whole", async ({ page, world, relay }) => {
    const guest = await Guest.boot(page, engine, relay.url);
    const running = guest.curl(`${world.web.at(WEB, "paced")} -o /tmp/paced`, 120_000);
    const flow = await guest.flow(WEB, 500_000);
    relay.stall();
    const received = async () => (await guest.report()).received;
    const still = await standsStill(received);
    expect(still - flow.received).toBeLessThan(UNDER_WAY);
    // The page is not taken by surprise: it still answers.
    await page.getByTestId("network-light").click();
    await expect(page.getByTestId("network-panel")).toBeVisible();
    relay.resume();
    expect(await running).toMatchObject({ status: 200, exit: 0 });
    expect(await guest.run("sha256sum /tmp/paced", 60_000)).toContain(LARGE_SHA256);
  });

  test("an upload to a relay that stands still waits in the guest, and nowhere else", async ({ page, world, relay }) => {
    const guest = await Guest.boot(page, engine, relay.url);
    await guest.run(`curl -sS ${world.web.at(WEB, "large")} -o /tmp/large`, 120_000);
    const running = guest.curl(`--data-binary @/tmp/large ${world.web.at(WEB, "echo")} -o /tmp/back`, 170_000);
    await guest.flow(WEB, 300_000);
    relay.stall();
    const sent = async () => (await guest.report()).sent;
    const still = await standsStill(sent);
    expect(still).toBeLessThan(LARGE);
    relay.resume();
    expect(await running).toMatchObject({ status: 200, exit: 0 });
    expect(await guest.run("sha256sum /tmp/back", 60_000)).toContain(LARGE_SHA256);
  });

  test(`a relay that comes and goes ${FLAPS} times in the middle of transfers`, async ({ page, world, relay }) => {
    test.setTimeout(120_000 + FLAPS * 15_000);
    const guest = await Guest.boot(page, engine, relay.url);
    const transfer = `curl -s --max-time 60 -o /dev/null ${world.web.at(WEB, "paced")}`;
    await guest.run(`(until [ -e /tmp/enough ]; do ${transfer}; echo "exit=$?" >> /tmp/ends; sleep 0.2; done) &`);
    for (let round = 0; round < FLAPS; round++) {
      await guest.flow(WEB, 1);
      await relay.kill();
      await expect.poll(async () => (await guest.report()).relay.type, { intervals: [100] }).not.toBe("up");
      await relay.again();
      await guest.link("up");
    }
    await guest.run("touch /tmp/enough");
    const ends = await guest.run("sort /tmp/ends | uniq -c");
    // None of them was left hanging until its time was over.
    expect(ends).not.toContain("exit=28");
    const interrupted = [...ends.matchAll(/(\d+) exit=[1-9]/g)].reduce((sum, [, count]) => sum + Number(count), 0);
    expect(interrupted).toBeGreaterThanOrEqual(FLAPS);
    expect(await guest.curl(`${world.web.at(WEB, "large")} -o /tmp/large`, 120_000)).toMatchObject({ status: 200, exit: 0 });
    expect(await guest.run("sha256sum /tmp/large", 60_000)).toContain(LARGE_SHA256);
    // Nothing of what was interrupted has been left behind.
    const open = async () => (await guest.report()).flows.filter(({ state }) => state !== "closed").length;
    await expect.poll(open, { timeout: 60_000 }).toBe(0);
    expect(guest.errors).toEqual([]);
  });

  test("a relay that asks who we are is not asked again without an answer", async ({ page, world }) => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "vivarium-key-"));
    const key = path.join(folder, "key");
    fs.writeFileSync(key, "a key of a test, and of nothing else, 0123456789abcdef\n");
    const relay = await Relay.start([...world.flags(), "--token-key-file", key]);
    try {
      const guest = await Guest.boot(page, engine, relay.url, { link: "authenticationNeeded" });
      const refused = await guest.curl(world.web.at(WEB, "status"));
      expect(refused.exit).toBeGreaterThan(0);
      expect(refused.seconds).toBeLessThan(2);
      const connect = (password: string) =>
        page.evaluate(([url, password]) => window.vivarium.network.connect(url!, { password }), [relay.url, password]);
      await connect("wrong");
      await guest.link("authenticationNeeded");
      const make = ["token", "--key-file", key, "--client", "test", "--expires", "1h"];
      const password = execFileSync(program(), make, { encoding: "utf8" }).trim();
      await connect(password);
      await guest.link("up");
      expect(await guest.curl(world.web.at(WEB, "status"))).toMatchObject({ status: 200, exit: 0 });
      // What was said in secret is said to nobody else.
      expect(JSON.stringify(await guest.report())).not.toContain(password);
      expect(relay.process.said()).not.toContain(password);
    } finally {
      await relay.kill();
      fs.rmSync(folder, { recursive: true });
    }
  });
});

/** Waits until a figure does not change any more, and answers with it. */
async function standsStill(figure: () => Promise<number>): Promise<number> {
  let last = -1;
  // Reports come twice a second: two equal ones, a while apart, are not one and the same.
  await expect
    .poll(async () => {
      const before = last;
      last = await figure();
      return last - before;
    }, { intervals: [1_500], timeout: 30_000 })
    .toBe(0);
  return last;
}
