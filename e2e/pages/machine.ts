// The page as a program sees it: `window.vivarium`, and nothing of the page's insides.
import { expect, type Page } from "@playwright/test";

export type BootOptions = {
  engine?: string;
  memory?: number;
  flavour?: string;
  cmdline?: string;
  machine?: string;
  start?: "head" | "fresh" | "cold";
  takeOver?: boolean;
};
export type Snapshot = {
  id: string;
  name: string | null;
  machine: string;
  savedAt: number;
  bytes: number;
  ownBytes: number;
  deltaBytes: number;
  isHead: boolean;
};
export type Saved = Snapshot & { pauseMs: number; tookMs: number };
export type BootResult = { ok: true } | { ok: false; code: string; message: string };

export const url = () => process.env.VIVARIUM_URL ?? "http://127.0.0.1:8080/";
export const faultyUrl = () => process.env.VIVARIUM_FAULTY_URL ?? "";

/** A kernel boot, from a click to the prompt, on a machine that does other things too. */
export const BOOT_TIMEOUT = 120_000;

export class Machine {
  private marks = 0;
  readonly errors: string[] = [];

  constructor(readonly page: Page) {
    page.on("pageerror", (error) => this.errors.push(`${error}`));
  }

  /** Opens the page and waits until a program can use it. */
  async open(query = "autoboot=0", base = url()): Promise<this> {
    await this.page.goto(`${base}?${query}`);
    await this.page.waitForFunction(() => typeof window.vivarium?.boot === "function");
    return this;
  }

  /** Boots and waits until the machine is running or has failed. */
  async boot(options: BootOptions): Promise<BootResult> {
    return this.page.evaluate(
      (options) =>
        window.vivarium.boot(options as never).then(
          () => ({ ok: true }) as const,
          (error) => ({ ok: false, code: `${error.code}`, message: `${error.message}` }) as const,
        ),
      options,
    );
  }

  /** Saves, and answers with the snapshot or with the code of what went wrong. */
  async save(name?: string): Promise<Saved> {
    return this.page.evaluate(async (name) => window.vivarium.snapshots.save({ name }) as never, name);
  }

  list(): Promise<Snapshot[]> {
    return this.page.evaluate(() => window.vivarium.snapshots.list() as never);
  }

  /** Runs something of `window.vivarium.snapshots`; its error's code if it is refused. */
  async attempt(method: string, ...args: unknown[]): Promise<string> {
    return this.page.evaluate(
      ([method, args]) =>
        (window.vivarium.snapshots as never as Record<string, (...args: unknown[]) => Promise<unknown>>)
          [method as string]!(...(args as unknown[]))
          .then(() => "ok", (error) => `${error.code}`),
      [method, args] as const,
    );
  }

  state(): Promise<string> {
    return this.page.evaluate(() => window.vivarium.state);
  }

  async waitForState(state: string, timeout = BOOT_TIMEOUT): Promise<void> {
    await this.page.waitForFunction((state) => window.vivarium.state === state, state, { timeout });
  }

  text(): Promise<string> {
    return this.page.evaluate(() => window.vivarium.console.text());
  }

  write(text: string): Promise<void> {
    return this.page.evaluate((text) => window.vivarium.console.write(text), text);
  }

  async waitForText(pattern: RegExp, timeout = 30_000): Promise<string> {
    const source = pattern.source;
    const flags = pattern.flags;
    await this.page.waitForFunction(
      ([source, flags]) => new RegExp(source!, flags).test(window.vivarium.console.text()),
      [source, flags],
      { timeout, polling: 100 },
    );
    return this.text();
  }

  /**
   * Waits until the shell is at its prompt, and has its answer: busybox's line editor asks
   * the terminal where the cursor is (CSI 6n). It asks in one breath with its prompt, and the
   * answer is input: what is typed before it is there has the answer in its middle.
   */
  async prompt(timeout?: number): Promise<void> {
    await this.waitForText(/\w@vivarium:\S*[#$]\s*$/, timeout);
  }

  /**
   * Runs a command line in the shell and returns what it printed. Its end is found by an
   * answer that the shell has to compute: what was typed contains `$((6*7))`, only a
   * shell makes 42 of it.
   */
  async run(command: string, timeout = 60_000): Promise<string> {
    await this.prompt();
    const mark = `${Date.now().toString(36)}${this.marks++}`;
    await this.write(`${command}\recho "DONE_$((6*7))_${mark} $?"\r`);
    const text = await this.waitForText(new RegExp(`DONE_42_${mark} \\d+`), timeout);
    const lines = text.split("\n");
    const end = lines.findIndex((line) => line.includes(`DONE_42_${mark}`));
    const start = lines.findLastIndex((line, index) => index < end && line.includes(command.slice(0, 40)));
    return lines
      .slice(start + 1, end)
      .filter((line) => !line.includes(`DONE_$((6*7))_${mark}`))
      .join("\n");
  }

  /** Requires a real kernel behind the prompt: computed, versioned, and without a panic. */
  async expectRealKernel(timeout = 30_000): Promise<void> {
    await this.prompt(timeout);
    await this.write("echo READY_$((6*7))_$(uname -r)\r");
    const text = await this.waitForText(/^READY_42_\d+\.\d+\.\d+\S*-vivarium/m, timeout);
    expect(text).not.toContain("Kernel panic");
    expect(await this.run("cat /proc/version")).toMatch(/Linux version \d+\.\d+\.\d+\S*-vivarium/);
  }
}
