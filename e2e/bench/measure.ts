// Medians, and the machine that they were measured on.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Browser, BrowserContext } from "@playwright/test";
import { Machine, type BootOptions, type BootResult } from "../pages/machine.ts";

/** How often each thing is measured. */
export const RUNS = Number(process.env.VIVARIUM_BENCH_RUNS ?? 5);

export type Row = { name: string; unit: string; median: number; runs: number[]; note?: string };

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export class Table {
  readonly rows: Row[] = [];

  /** One more run of a row. */
  put(name: string, unit: string, value: number, note?: string): void {
    const row = this.rows.find((row) => row.name === name);
    if (!row) return this.add(name, unit, [value], note);
    row.runs.push(value);
    row.median = median(row.runs);
  }

  add(name: string, unit: string, runs: number[], note?: string): void {
    this.rows.push({ name, unit, median: median(runs), runs, note });
  }

  print(): string {
    const cell = (value: number) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
    const width = Math.max(...this.rows.map((row) => row.name.length));
    return this.rows
      .map((row) => {
        const spread = `${cell(Math.min(...row.runs))} – ${cell(Math.max(...row.runs))}`;
        const figure = `${cell(row.median).padStart(8)} ${row.unit.padEnd(6)}`;
        return `${row.name.padEnd(width)}  ${figure} (${spread}, n=${row.runs.length})${row.note ? `  ${row.note}` : ""}`;
      })
      .join("\n");
  }
}

export function machine(browser: string): Record<string, string | number> {
  const cpu = os.cpus()[0]?.model ?? "unknown";
  return {
    cpu,
    cores: os.cpus().length,
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    kernel: os.release(),
    browser: `Chromium ${browser}`,
    loadBefore: os.loadavg()[0] ?? 0,
    date: new Date().toISOString(),
    commit: execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim(),
  };
}

/** Prints a table, and writes it to e2e/results/bench-NAME.json. */
export function publish(name: string, about: Record<string, string | number>, table: Table): void {
  console.log(`\n${Object.entries(about).map(([key, value]) => `${key}: ${value}`).join("\n")}\n\n${table.print()}\n`);
  const folder = path.resolve(import.meta.dirname, "../results");
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, `bench-${name}.json`), `${JSON.stringify({ machine: about, rows: table.rows }, null, 2)}\n`);
}

/** A page with a storage of its own. */
export async function withPage<T>(browser: Browser, work: (machine: Machine, context: BrowserContext) => Promise<T>): Promise<T> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  try {
    return await work(new Machine(await context.newPage()), context);
  } finally {
    await context.close();
  }
}

export function expectOk(result: BootResult): void {
  if (!result.ok) throw new Error(result.message);
}

/** Milliseconds of a cold boot until the shell has said that it is ready. */
export function bootTime(machine: Machine, engine: string, flavour: string): Promise<number> {
  return machine.page.evaluate(
    async ([engine, flavour]) => {
      const start = performance.now();
      await window.vivarium.boot({ engine, flavour, memory: 256, start: "cold" } as never);
      return performance.now() - start;
    },
    [engine, flavour],
  );
}

/** Milliseconds from the call of boot until the shell has answered a key. */
export function answered(machine: Machine, options: BootOptions): Promise<number> {
  return machine.page.evaluate(async (options) => {
    const start = performance.now();
    let seen = "";
    const off = window.vivarium.on("console", (text) => (seen += text));
    await window.vivarium.boot(options as never);
    seen = "";
    window.vivarium.console.write("#");
    while (!seen.includes("#")) await new Promise((done) => setTimeout(done, 1));
    off();
    return performance.now() - start;
  }, options);
}
