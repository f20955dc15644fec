// A Python environment with the foreign WISP server in it, made once and kept under target/.
import { execFileSync } from "node:child_process";
import crypto from "node:crypto";
import fs from "node:fs";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../..");
const requirements = path.join(root, "e2e/interop/requirements.txt");

/** The environment's interpreter. Needs python3 with its modules venv and ensurepip. */
export function python(): string {
  const version = execFileSync("python3", ["--version"], { encoding: "utf8" });
  const key = crypto.createHash("sha256").update(version).update(fs.readFileSync(requirements)).digest("hex").slice(0, 16);
  const place = path.join(root, "target/peers", key);
  const interpreter = path.join(place, "bin/python");
  const stamp = path.join(place, "complete");
  if (fs.existsSync(stamp)) return interpreter;
  fs.rmSync(place, { recursive: true, force: true });
  const run = (program: string, ...args: string[]) => execFileSync(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  try {
    run("python3", "-m", "venv", place);
    run(interpreter, "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", requirements);
  } catch (error) {
    throw new Error(`the foreign WISP server cannot be had; Debian's package python3-venv is needed: ${error}`);
  }
  fs.writeFileSync(stamp, "");
  return interpreter;
}
