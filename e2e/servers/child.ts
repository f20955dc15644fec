// A server in a process of its own that says where it listens: one line
// `listening on ws://127.0.0.1:PORT/` on its standard output.
import { spawn, type ChildProcess } from "node:child_process";
import fs from "node:fs";

/** What a server says is kept for the message of a failed test, not for ever. */
const KEPT = 16 * 1024;

/** A server that has not listened by then never will; the machine may be busy. */
const START_LIMIT = 30_000;

/** Servers that are there now, for the end of a test run that was broken off. */
const running = new Set<ChildProcess>();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

export class Child {
  private constructor(
    private readonly child: ChildProcess,
    private readonly exited: Promise<number | null>,
    private readonly words: () => string,
    readonly url: string,
  ) {}

  static async start(program: string, args: string[], env: NodeJS.ProcessEnv = {}): Promise<Child> {
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
    running.add(child);
    let text = "";
    const keep = (piece: Buffer) => (text = (text + piece).slice(-KEPT));
    const exited = new Promise<number | null>((resolve) => {
      child.once("error", (error) => (keep(Buffer.from(`${error}`)), resolve(null)));
      child.once("exit", resolve);
    }).finally(() => running.delete(child));
    child.stderr!.on("data", keep);
    const url = new Promise<string>((resolve) => {
      child.stdout!.on("data", (piece) => {
        const found = /listening on (ws:\/\/127\.0\.0\.1:\d+\/)/.exec(keep(piece));
        if (found) resolve(found[1]!);
      });
    });
    let timer;
    const late = new Promise<undefined>((resolve) => (timer = setTimeout(resolve, START_LIMIT)));
    const found = await Promise.race([url, exited.then(() => undefined), late]);
    clearTimeout(timer);
    if (found) return new Child(child, exited, () => text, found);
    child.kill("SIGKILL");
    throw new Error(`${program} ${args.join(" ")} does not listen: ${text}`);
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** The last words on both of its outputs. */
  said(): string {
    return this.words();
  }

  /** Ends it as a power cut would: nobody is told. */
  async kill(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.exited;
  }

  /** Asks it to end, and answers with its exit status. */
  async stop(): Promise<number | null> {
    this.child.kill("SIGTERM");
    return this.exited;
  }

  /** Lets it stand still: connections stay, nothing is read or written. */
  stall(): void {
    this.child.kill("SIGSTOP");
  }

  resume(): void {
    this.child.kill("SIGCONT");
  }

  /** Resident memory in bytes. */
  memory(): number {
    const status = fs.readFileSync(`/proc/${this.child.pid}/status`, "utf8");
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
  }
}
