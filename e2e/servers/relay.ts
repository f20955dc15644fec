// Our relay, as it is built: `cargo xtask test` names it, by hand it is the newest build.
import fs from "node:fs";
import path from "node:path";
import { Child } from "./child.ts";

const root = path.resolve(import.meta.dirname, "../..");

export function program(): string {
  if (process.env.VIVARIUM_RELAY) return process.env.VIVARIUM_RELAY;
  const built = ["release", "debug"]
    .map((profile) => path.join(root, "target", profile, "relay"))
    .filter((file) => fs.existsSync(file))
    .sort((a, b) => fs.statSync(b).mtimeMs - fs.statSync(a).mtimeMs);
  if (!built[0]) throw new Error("there is no relay: `cargo build -p relay` makes one");
  return built[0];
}

export class Relay {
  private constructor(
    private child: Child,
    private readonly flags: string[],
  ) {}

  static async start(flags: string[], port = 0): Promise<Relay> {
    return new Relay(await run(flags, port), flags);
  }

  get url(): string {
    return this.child.url;
  }

  get process(): Child {
    return this.child;
  }

  /** Starts it again where it was; it must have ended. */
  async again(): Promise<void> {
    this.child = await run(this.flags, this.child.port);
  }

  kill(): Promise<void> {
    return this.child.kill();
  }

  stop(): Promise<number | null> {
    return this.child.stop();
  }

  stall(): void {
    this.child.stall();
  }

  resume(): void {
    this.child.resume();
  }
}

function run(flags: string[], port: number): Promise<Child> {
  return Child.start(program(), ["--listen", `127.0.0.1:${port}`, ...flags]);
}
