// The guest's work done by the machine itself, with the very same binaries.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import zlib from "node:zlib";

const here = import.meta.dirname;
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "vivarium-bench-"));
process.on("exit", () => fs.rmSync(scratch, { recursive: true, force: true }));

/** Compiles the small workloads; they run on the host and in the guest alike. */
export function native(): string {
  const binary = path.join(scratch, "guest");
  const flags = "-m32 -O2 -msse2 -mfpmath=sse -ffreestanding -fno-stack-protector -fno-pie -no-pie -static -nostdlib";
  const quiet = "-fno-tree-loop-distribute-patterns"; // no calls of a memset that is not there
  execFileSync("gcc", [...flags.split(" "), quiet, "-o", binary, path.join(here, "guest.c")]);
  return binary;
}

/** A mixed loop: integers, a dictionary, strings, calls. Prints nanoseconds and the answer. */
const program = [
  "import time",
  "def f(n): return n if n < 2 else f(n-1) + f(n-2)",
  "t = time.perf_counter_ns()",
  "d = {}",
  "for i in range(20000): d[str(i)] = i * i % 97",
  's = sum(d[k] for k in d) + f(15) + len("-".join(d))', // no single quote: it stands within two
  "print(time.perf_counter_ns() - t, s)",
].join("\n");

let interpreter: string[] | undefined;

/** The guest's own python, taken out of its disk and run on the host. */
function guestPython(): string[] {
  if (interpreter) return interpreter;
  const image = path.resolve(here, "../../image/out/i386");
  const manifest = JSON.parse(fs.readFileSync(path.join(image, "full.json"), "utf8"));
  const disk = path.join(scratch, "root.squashfs");
  const file = fs.openSync(disk, "w");
  manifest.disk.chunks.forEach((chunk: { id: string } | null, index: number) => {
    if (!chunk) return;
    const bytes = zlib.inflateSync(fs.readFileSync(path.join(image, manifest.disk.path, chunk.id)));
    fs.writeSync(file, bytes, 0, bytes.length, index * manifest.disk.chunk_size);
  });
  fs.ftruncateSync(file, manifest.disk.size);
  fs.closeSync(file);
  const root = path.join(scratch, "root");
  execFileSync("unsquashfs", ["-no-progress", "-quiet", "-no-xattrs", "-d", root, disk], { stdio: "ignore" });
  const find = (name: string) =>
    ["lib/i386-linux-gnu", "usr/lib/i386-linux-gnu", "lib", "usr/lib"]
      .map((folder) => path.join(root, folder, name))
      .find((file) => fs.existsSync(file))!;
  const libraries = ["lib/i386-linux-gnu", "usr/lib/i386-linux-gnu"].map((folder) => path.join(root, folder));
  interpreter = [find("ld-linux.so.2"), "--library-path", libraries.join(":"), path.join(root, "usr/bin/python3")];
  process.env.PYTHONHOME = path.join(root, "usr");
  return interpreter;
}

function runNative(): number {
  const [loader, ...rest] = guestPython();
  const text = execFileSync(loader!, [...rest, "-c", program], { encoding: "utf8" });
  const [time, answer] = text.trim().split(" ");
  python.answer ||= answer!;
  return Number(time) / 1e6;
}

export const python = { program, answer: "", native: runNative };
