// `cargo xtask bench`: what a visitor waits for, what a guest computes, side by side with
// the same work done natively. Prints a table and writes e2e/results/bench.json.
import { test, type Browser, type BrowserContext } from "@playwright/test";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { Machine, type BootOptions, type BootResult } from "../pages/machine.ts";
import { native, python } from "./native.ts";
import { Table, machine, save } from "./measure.ts";

const RUNS = Number(process.env.VIVARIUM_BENCH_RUNS ?? 5);
const here = import.meta.dirname;

async function withPage<T>(browser: Browser, work: (machine: Machine, context: BrowserContext) => Promise<T>): Promise<T> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  try {
    return await work(new Machine(await context.newPage()), context);
  } finally {
    await context.close();
  }
}

const mark = (machine: Machine, name: string) =>
  machine.page.evaluate((name) => performance.getEntriesByName(name)[0]?.startTime ?? Number.NaN, name);

async function bootTime(machine: Machine, flavour: string): Promise<number> {
  return machine.page.evaluate(async (flavour) => {
    const start = performance.now();
    await window.vivarium.boot({ engine: "v86", flavour, memory: 256, start: "cold" } as never);
    return performance.now() - start;
  }, flavour);
}

/** Bytes that crossed the network for the page and all its workers. */
async function countBytes(context: BrowserContext, machine: Machine, work: () => Promise<unknown>): Promise<number> {
  const session = await context.newCDPSession(machine.page);
  let bytes = 0;
  const seen = new Map<string, number>();
  await session.send("Network.enable");
  session.on("Network.dataReceived", (event) => seen.set(event.requestId, event.encodedDataLength));
  session.on("Network.loadingFinished", (event) => (bytes += event.encodedDataLength));
  await work();
  await session.detach();
  return bytes;
}

/** Saving and coming back, for a small and a large machine. */
async function saving(browser: Browser, table: Table): Promise<void> {
  const warm: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    await withPage(browser, async (machine) => {
      await machine.open();
      warm.push(await answered(machine, { flavour: "full", memory: 256, start: "fresh" }));
    });
  }
  table.add("v86 full, 256 MiB: first visit from the shipped state to an answered key", "ms", warm);
  for (const [flavour, memory] of [["busybox", 128], ["full", 256]] as const) {
    const rows = new Map<string, number[]>();
    const add = (name: string, value: number) => rows.set(name, [...(rows.get(name) ?? []), value]);
    for (let run = 0; run < RUNS; run++) {
      await withPage(browser, async (machine, context) => {
        await machine.page.addInitScript(() => localStorage.setItem("vivarium.preferences", '{"autosave":false}'));
        await machine.open();
        expectOk(await machine.boot({ engine: "v86", flavour, memory, start: "cold" }));
        const first = await machine.save();
        add("first save: time|ms", first.tookMs);
        add("first save: the guest stands still|ms", first.pauseMs);
        add("first save: stored|MB", first.bytes / 1e6);
        // A fixed piece of work: files are written, programs run.
        await machine.run("cp -r /etc /tmp/work; for i in 1 2 3 4 5 6 7 8; do ls -lR /etc /bin > /tmp/list$i; done");
        const second = await machine.save();
        add("save after work: time|ms", second.tookMs);
        add("save after work: the guest stands still|ms", second.pauseMs);
        add("save after work: stored|MB", second.deltaBytes / 1e6);
        const again = new Machine(await context.newPage());
        await machine.page.close();
        const opened = Date.now();
        await again.open();
        add("restore: from the call to an answered key|ms", await answered(again, { flavour, memory, start: "head" }));
        add("restore: from opening the page to an answered key|ms", Date.now() - opened);
      });
    }
    for (const [key, values] of rows) {
      const [name, unit] = key.split("|");
      table.add(`v86 ${flavour}, ${memory} MiB, ${name}`, unit!, values);
    }
  }
}

function expectOk(result: BootResult): void {
  if (!result.ok) throw new Error(result.message);
}

/** Time from the call of boot until the shell has answered a key. */
function answered(machine: Machine, options: BootOptions): Promise<number> {
  return machine.page.evaluate(async (options) => {
    const start = performance.now();
    let seen = "";
    const off = window.vivarium.on("console", (text) => (seen += text));
    await window.vivarium.boot({ engine: "v86", ...options } as never);
    seen = "";
    window.vivarium.console.write("#");
    while (!seen.includes("#")) await new Promise((done) => setTimeout(done, 1));
    off();
    return performance.now() - start;
  }, options);
}

test("bench", async ({ browser }) => {
  const table = new Table();
  const about = machine(browser.version());

  const interactive: number[] = [];
  const sim: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    await withPage(browser, async (machine) => {
      await machine.open("engine=sim");
      await machine.waitForState("running");
      interactive.push(await mark(machine, "vivarium:interactive"));
      sim.push((await mark(machine, "vivarium:ready")) - interactive.at(-1)!);
    });
  }
  table.add("page interactive", "ms", interactive);
  table.add("sim prompt after interactive", "ms", sim);

  for (const flavour of ["busybox", "full"]) {
    const cold: number[] = [];
    const warm: number[] = [];
    const fetched: number[] = [];
    for (let run = 0; run < RUNS; run++) {
      await withPage(browser, async (machine, context) => {
        let page = 0;
        page = await countBytes(context, machine, async () => {
          await machine.open();
          cold.push(await bootTime(machine, flavour));
        });
        const stats = await machine.page.evaluate(() => window.vivarium.stats());
        const code = ["vendor/v86/libv86.mjs", "vendor/v86/v86.wasm", "kernel.js", "kernel_bg.wasm"]
          .map((file) => fs.statSync(path.resolve(here, "../../dist", file)).size)
          .reduce((sum, size) => sum + size, 0);
        fetched.push((page + code + (stats.fetched ?? 0)) / 1e6);
        const again = new Machine(await context.newPage());
        // Two tabs do not run one machine.
        await machine.page.close();
        await again.open();
        warm.push(await bootTime(again, flavour));
      });
    }
    table.add(`v86 ${flavour}: cold boot, nothing cached`, "ms", cold);
    table.add(`v86 ${flavour}: cold boot, files cached`, "ms", warm);
    table.add(`v86 ${flavour}: bytes to the prompt`, "MB", fetched, "page, engine, image; uncompressed but for the disk");
  }

  await saving(browser, table);

  const longest: number[] = [];
  const obeyed: number[] = [];
  const speed: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    await withPage(browser, async (machine) => {
      await machine.open();
      await bootTime(machine, "busybox");
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
      longest.push(result.longest);
      obeyed.push(result.obeyed);
      speed.push(result.rate);
    });
  }
  table.add("flood (yes): longest task of the page", "ms", longest, "0: none over 50 ms");
  table.add("flood (yes): Ctrl-C to the prompt on the screen", "ms", obeyed);
  table.add("flood (yes): console throughput", "MB/s", speed);

  const binary = native();
  const guest = new Map<string, number[]>();
  const host = new Map<string, number[]>();
  const sums = new Map<string, string>();
  const collect = (into: Map<string, number[]>, text: string) => {
    const last = new Map<string, number>();
    for (const [, name, time, sum] of text.matchAll(/^(\S+) (\d+) (\d+)$/gm)) {
      last.set(name!, Number(time) / 1e6);
      const known = sums.get(name!) ?? sum!;
      sums.set(name!, known);
      if (known !== sum) throw new Error(`${name}: ${sum} here, ${known} elsewhere`);
    }
    for (const [name, time] of last) into.set(name, [...(into.get(name) ?? []), time]);
  };
  const pythonGuest: number[] = [];
  const pythonHost: number[] = [];
  await withPage(browser, async (machine) => {
    await machine.open();
    await bootTime(machine, "full");
    const base64 = fs.readFileSync(binary).toString("base64").replace(/.{76}/g, "$&\n");
    await machine.run(`stty -echo; base64 -d > /tmp/bench << 'EOF'\n${base64}\nEOF\nstty echo; chmod +x /tmp/bench`);
    for (let run = 0; run < RUNS; run++) {
      collect(guest, await machine.run("/tmp/bench", 300_000));
      collect(host, execFileSync(binary, { encoding: "utf8" }));
      pythonHost.push(python.native());
      // The screen still shows the runs before.
      const said = await machine.run(`python3 -c '${python.program}'`, 300_000);
      const answer = [...said.matchAll(/^(\d+) (\d+)$/gm)].at(-1);
      if (answer?.[2] !== python.answer) throw new Error(`python says ${answer?.[2]} in the guest, ${python.answer} natively`);
      pythonGuest.push(Number(answer[1]) / 1e6);
    }
  });
  for (const [name, times] of guest) {
    const there = host.get(name) ?? [];
    table.add(`guest ${name}: v86`, "ms", times);
    table.add(`guest ${name}: native`, "ms", there);
    table.add(`guest ${name}: slowdown`, "x", times.map((time, run) => time / there[run]!));
  }
  table.add("guest python: v86", "ms", pythonGuest);
  table.add("guest python: native", "ms", pythonHost);
  table.add("guest python: slowdown", "x", pythonGuest.map((time, run) => time / pythonHost[run]!));

  const text = table.print();
  console.log(`\n${Object.entries(about).map(([key, value]) => `${key}: ${value}`).join("\n")}\n\n${text}\n`);
  save(path.resolve(here, "../results/bench.json"), { machine: about, rows: table.rows });
});
