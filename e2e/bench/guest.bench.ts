// `cargo xtask bench`: what a guest computes, engine beside engine, beside the same work done
// natively. An answer that is not the native one ends the run.
// Prints a table and writes e2e/results/bench-guest.json.
import { expect, test } from "@playwright/test";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { KERNELS } from "../pages/engines.ts";
import { Machine } from "../pages/machine.ts";
import { WORKLOADS, compile, headless, python } from "./native.ts";
import { RUNS, Table, bootTime, machine, publish, withPage } from "./measure.ts";

/** What each kernel runs: programs of these widths, in bits. */
const WIDTHS: Record<string, number[]> = { v86: [32], "x86-64": [32, 64] };

type Result = { ms: number; sum: string };

/** The second of a program's two rounds: what an emulator compiles in the first is used then. */
function second(text: string, workload: string): Result & { bothMs: number } {
  const found = [...text.matchAll(/^(\S+) (\d+) (\d+)\s*$/gm)].filter(([, name]) => name === workload).slice(-2);
  expect(found.length, `${workload} has printed two rounds: ${text}`).toBe(2);
  const ms = found.map(([, , time]) => Number(time) / 1e6);
  return { ms: ms[1]!, bothMs: ms[0]! + ms[1]!, sum: found[1]![3]! };
}

test("guest programs", async ({ browser }) => {
  const table = new Table();
  const about = machine(browser.version());
  const speeds = new Map<string, number[]>();
  const note = (key: string, mips: number) => speeds.set(key, [...(speeds.get(key) ?? []), mips]);
  for (let run = 0; run < RUNS; run++) {
    for (const workload of WORKLOADS) {
      const mips = headless(workload);
      table.put(`${workload}, 64 bits: x86-64 without a browser, speed`, "MIPS", mips, "both rounds");
      note("x86-64 without a browser, 64 bits", mips);
    }
    for (const { name: engine, image } of KERNELS) {
      await withPage(browser, async (machine) => {
        await machine.open();
        await bootTime(machine, engine, "full");
        for (const width of WIDTHS[engine]!) {
          const binary = compile(width);
          const base64 = fs.readFileSync(binary).toString("base64").replace(/.{76}/g, "$&\n");
          await machine.run(`stty -echo; base64 -d > /tmp/bench << 'EOF'\n${base64}\nEOF\nstty echo; chmod +x /tmp/bench`);
          for (const workload of WORKLOADS) {
            const native = second(execFileSync(binary, [workload], { encoding: "utf8" }), workload);
            const before = await instructions(machine);
            const guest = second(await machine.run(`clear; /tmp/bench ${workload}`, 300_000), workload);
            const executed = (await instructions(machine)) - before;
            expect(guest.sum, `${workload} has the same answer in ${engine} as natively`).toBe(native.sum);
            const row = `${workload}, ${width} bits`;
            table.put(`${row}: native`, "ms", native.ms);
            table.put(`${row}: ${engine}`, "ms", guest.ms);
            table.put(`${row}: ${engine}, slowdown`, "x", guest.ms / native.ms);
            const mips = executed / 1e3 / guest.bothMs;
            table.put(`${row}: ${engine}, speed`, "MIPS", mips, "both rounds");
            note(`${engine}, ${width} bits`, mips);
          }
        }
        const native = python(image);
        // The screen still shows the runs before.
        const said = await machine.run(`clear; python3 -c '${native.program}'`, 300_000);
        const answer = [...said.matchAll(/^(\d+) (\d+)\s*$/gm)].at(-1);
        expect(answer?.[2], `python has the same answer in ${engine} as natively`).toBe(native.answer);
        const ms = Number(answer![1]) / 1e6;
        table.put(`python: ${engine}, native`, "ms", native.ms);
        table.put(`python: ${engine}`, "ms", ms);
        table.put(`python: ${engine}, slowdown`, "x", ms / native.ms);
        for (const time of ["first", "second"]) {
          const started = performance.now();
          await machine.run("python3 -c 'print(6*7)'", 300_000);
          table.put(`python3 -c 'print(6*7)', ${time} time: ${engine}`, "ms", performance.now() - started);
        }
      });
    }
  }
  for (const [key, all] of speeds) {
    const rounds = Array.from({ length: RUNS }, (_, run) => all.slice(run * WORKLOADS.length, (run + 1) * WORKLOADS.length));
    const means = rounds.map((mips) => Math.exp(mips.reduce((sum, one) => sum + Math.log(one), 0) / mips.length));
    table.add(`geometric mean of the programs: ${key}`, "MIPS", means);
  }
  publish("guest", about, table);
});

/** Instructions since boot, by a report that is younger than this call. */
async function instructions(machine: Machine): Promise<number> {
  const uptime = () => machine.page.evaluate(() => window.vivarium.stats().uptimeMs ?? 0);
  const asked = await uptime();
  while ((await uptime()) === asked) await machine.page.waitForTimeout(50);
  return (await machine.page.evaluate(() => window.vivarium.stats().instructions)) ?? Number.NaN;
}
