// Medians, and the machine that they were measured on.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";

export type Row = { name: string; unit: string; median: number; runs: number[]; note?: string };

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export class Table {
  readonly rows: Row[] = [];

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

export function save(path: string, result: unknown): void {
  fs.mkdirSync(path.replace(/\/[^/]*$/, ""), { recursive: true });
  fs.writeFileSync(path, `${JSON.stringify(result, null, 2)}\n`);
}
