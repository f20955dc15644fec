// `cargo xtask bench`: what a visitor waits for, engine beside engine.
// Prints a table and writes e2e/results/bench-boot.json.
import { test, type BrowserContext } from "@playwright/test";
import fs from "node:fs";
import path from "node:path";
import { KERNELS } from "../pages/engines.ts";
import { Machine } from "../pages/machine.ts";
import { RUNS, Table, answered, bootTime, machine, publish, withPage } from "./measure.ts";

const dist = path.resolve(import.meta.dirname, "../../dist");

/** Memory of the guests that are booted here. */
const GUEST_BYTES = 256 * 2 ** 20;

/** What a kernel's worker loads beside its image. */
const CODE: Record<string, string[]> = {
  v86: ["vendor/v86/libv86.mjs", "vendor/v86/v86.wasm", "kernel.js", "kernel_bg.wasm"],
  "x86-64": ["kernel.js", "kernel_bg.wasm"],
};

const mark = (machine: Machine, name: string) =>
  machine.page.evaluate((name) => performance.getEntriesByName(name)[0]?.startTime ?? Number.NaN, name);

/** Bytes that crossed the network for the page. */
async function countBytes(context: BrowserContext, machine: Machine, work: () => Promise<unknown>): Promise<number> {
  const session = await context.newCDPSession(machine.page);
  let bytes = 0;
  await session.send("Network.enable");
  session.on("Network.loadingFinished", (event) => (bytes += event.encodedDataLength));
  await work();
  await session.detach();
  return bytes;
}

test("boots", async ({ browser }) => {
  const table = new Table();
  const about = machine(browser.version());
  for (let run = 0; run < RUNS; run++) {
    await withPage(browser, async (machine) => {
      await machine.open("engine=sim");
      await machine.waitForState("running");
      const interactive = await mark(machine, "vivarium:interactive");
      table.put("page interactive", "ms", interactive);
      table.put("sim: prompt after interactive", "ms", (await mark(machine, "vivarium:ready")) - interactive);
    });
  }
  for (const flavour of ["busybox", "full"]) {
    for (let run = 0; run < RUNS; run++) {
      for (const { name: engine } of KERNELS) {
        const row = `${engine} ${flavour}`;
        await withPage(browser, async (machine, context) => {
          const page = await countBytes(context, machine, async () => {
            await machine.open();
            table.put(`${row}: cold boot, nothing cached`, "ms", await bootTime(machine, engine, flavour));
          });
          const stats = await machine.page.evaluate(() => window.vivarium.stats());
          const code = CODE[engine]!.map((file) => fs.statSync(path.join(dist, file)).size).reduce((sum, size) => sum + size, 0);
          const note = "page, engine, image; uncompressed but for the disk";
          table.put(`${row}: bytes to the prompt`, "MB", (page + code + (stats.fetched ?? 0)) / 1e6, note);
          const again = new Machine(await context.newPage());
          // Two tabs do not run one machine.
          await machine.page.close();
          await again.open();
          table.put(`${row}: cold boot, files cached`, "ms", await bootTime(again, engine, flavour));
          // Reports come once a second.
          const told = await again.page.waitForFunction((guest) => Math.max(0, window.vivarium.stats().hostBytes - guest), GUEST_BYTES);
          const beside = await told.jsonValue();
          table.put(`${row}: memory beside the guest's, at the prompt`, "MB", beside / 1e6, "of the worker and the engine, without compiled code");
        });
        await withPage(browser, async (machine) => {
          await machine.open();
          const options = { engine, flavour, memory: 256, start: "fresh" } as const;
          table.put(`${row}: first visit from the shipped state to an answered key`, "ms", await answered(machine, options));
        });
      }
    }
  }
  publish("boot", about, table);
});

test("floods", async ({ browser }) => {
  const table = new Table();
  const about = machine(browser.version());
  for (let run = 0; run < RUNS; run++) {
    for (const { name: engine } of KERNELS) {
      await withPage(browser, async (machine) => {
        await machine.open();
        await bootTime(machine, engine, "busybox");
        await machine.run("true");
        const result = await machine.page.evaluate(async () => {
          const tasks: number[] = [0];
          new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration))).observe({
            entryTypes: ["longtask"],
          });
          const rest = (ms: number) => new Promise((done) => setTimeout(done, ms));
          window.vivarium.console.write("yes\r");
          await rest(1500);
          const before = window.vivarium.stats().console ?? 0;
          const start = performance.now();
          await rest(3000);
          const rate = ((window.vivarium.stats().console ?? 0) - before) / (performance.now() - start) / 1000;
          const pressed = performance.now();
          window.vivarium.console.write("\x03");
          const prompt = /root@vivarium:\S*[#$]\s*$/;
          while (!prompt.test(document.querySelector(".xterm-rows")?.textContent?.trimEnd() ?? "")) await rest(10);
          return { longest: Math.max(...tasks), obeyed: performance.now() - pressed, rate };
        });
        table.put(`${engine}: flood (yes): longest task of the page`, "ms", result.longest, "0: none over 50 ms");
        table.put(`${engine}: flood (yes): Ctrl-C to the prompt on the screen`, "ms", result.obeyed);
        table.put(`${engine}: flood (yes): console throughput`, "MB/s", result.rate);
      });
    }
  }
  publish("flood", about, table);
});
