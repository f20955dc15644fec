// The guest's work done by the machine itself, with the very same binaries.
import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import zlib from "node:zlib";
import type { Kernel } from "../pages/engines.ts";

const here = import.meta.dirname;
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "vivarium-bench-"));
process.on("exit", () => fs.rmSync(scratch, { recursive: true, force: true }));

/** What the small program can do, by the words that it takes. */
export const WORKLOADS = ["integer", "memory", "float", "syscall", "fork+exec"];

/** The small program for so many bits; it runs on the host and in the guest alike. */
export function compile(width: number): string {
  const binary = path.join(scratch, `guest${width}`);
  if (fs.existsSync(binary)) return binary;
  const flags = "-O2 -msse2 -mfpmath=sse -ffreestanding -fno-stack-protector -fno-pie -no-pie -static -nostdlib";
  const quiet = "-fno-tree-loop-distribute-patterns"; // no calls of a memset that is not there
  execFileSync("gcc", [`-m${width}`, ...flags.split(" "), quiet, "-o", binary, path.join(here, "guest.c")]);
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

/** How the dynamic linker of an image is called, and where its libraries are. */
const LINKERS = {
  i386: { name: "ld-linux.so.2", triplet: "i386-linux-gnu" },
  amd64: { name: "ld-linux-x86-64.so.2", triplet: "x86_64-linux-gnu" },
};

/** The root file system of an image, unpacked once. */
function root(image: Kernel["image"]): string {
  const root = path.join(scratch, image);
  if (fs.existsSync(root)) return root;
  const out = path.resolve(here, "../../image/out", image);
  const manifest = JSON.parse(fs.readFileSync(path.join(out, "full.json"), "utf8"));
  const disk = path.join(scratch, `${image}.squashfs`);
  const file = fs.openSync(disk, "w");
  manifest.disk.chunks.forEach((chunk: { id: string } | null, index: number) => {
    if (!chunk) return;
    const bytes = zlib.inflateSync(fs.readFileSync(path.join(out, manifest.disk.path, chunk.id)));
    fs.writeSync(file, bytes, 0, bytes.length, index * manifest.disk.chunk_size);
  });
  fs.ftruncateSync(file, manifest.disk.size);
  fs.closeSync(file);
  execFileSync("unsquashfs", ["-no-progress", "-quiet", "-no-xattrs", "-d", root, disk], { stdio: "ignore" });
  return root;
}

/** The guest's own python, taken out of its disk, on the host. */
export function python(image: Kernel["image"]): { program: string; ms: number; answer: string } {
  const { name, triplet } = LINKERS[image];
  const unpacked = root(image);
  const folders = ["lib", "usr/lib"].map((folder) => path.join(unpacked, folder, triplet));
  const linker = [...folders, path.join(unpacked, "lib"), path.join(unpacked, "lib64"), path.join(unpacked, "usr/lib64")]
    .map((folder) => path.join(folder, name))
    .find((file) => fs.existsSync(file))!;
  const text = execFileSync(linker, ["--library-path", folders.join(":"), path.join(unpacked, "usr/bin/python3"), "-c", program], {
    encoding: "utf8",
    env: { ...process.env, PYTHONHOME: path.join(unpacked, "usr") },
  });
  const [time, answer] = text.trim().split(" ");
  return { program, ms: Number(time) / 1e6, answer: answer! };
}

/** A file of an initial RAM disk (Linux, Documentation/driver-api/early-userspace/buffer-format.rst). */
function entry(name: string, mode: number, content = Buffer.alloc(0), device = [0, 0]): Buffer {
  const fields = [1, mode, 0, 0, 1, 0, content.length, 0, 0, ...device, name.length + 1, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}${name}\0`;
  const padded = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
  return Buffer.concat([padded(Buffer.from(header)), padded(content)]);
}

/** Million instructions a second of our engine as a program of this machine, for one workload. */
export function headless(workload: string): number {
  const initrd = path.join(scratch, "initrd");
  const program = fs.readFileSync(compile(64));
  const files = [entry("dev", 0o40755), entry("dev/console", 0o20600, undefined, [5, 1]), entry("init", 0o100755, program)];
  fs.writeFileSync(initrd, Buffer.concat([...files, entry("TRAILER!!!", 0)]));
  const run = (what: string) => {
    const kernel = path.resolve(here, "../../image/out/amd64/vmlinux");
    const cmdline = `console=ttyS0 quiet panic=-1 reboot=k tsc=reliable -- ${what}`;
    const words = ["run", "--kernel", kernel, "--initrd", initrd, "--cmdline", cmdline, "--memory", "128"];
    const { stdout, stderr } = spawnSync(process.env.VIVARIUM_HEADLESS!, words, { encoding: "utf8" });
    const executed = /; ([\d.]+) million instructions/.exec(stderr)?.[1];
    if (!executed) throw new Error(`headless says no figures: ${stderr}`);
    return { millions: Number(executed), text: stdout };
  };
  // The kernel's own instructions are those of a program that does nothing.
  const { millions, text } = run(workload);
  const times = [...text.matchAll(/^(\S+) (\d+) \d+\s*$/gm)].filter(([, name]) => name === workload);
  return (millions - run("nothing").millions) / times.reduce((sum, [, , time]) => sum + Number(time) / 1e9, 0);
}
