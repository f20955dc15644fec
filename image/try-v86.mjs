#!/usr/bin/env node
// Boots a guest image in v86 under Node, measures, and checks that it is a real system.
//
//   node image/try-v86.mjs [options]
//     --flavour full|busybox   which manifest of image/out/i386 (full)
//     --memory MIB             memory of the guest (256)
//     --append WORDS           more words for the kernel's command line
//     --cmdline WORDS          another command line altogether
//     --check                  ask the booted guest for everything that it must be able to do
//     --order                  print the files that boot and first commands have read, in
//                              the order of image/boot-order
//     --chunks                 print which chunks were fetched, in that order
//     --broken                 boot with root=/dev/nonsense, which must end in a panic
//     --halt                   boot, then `poweroff`, which must stop the processor
//     --run COMMAND            run this in the guest and print what it says
//     --log                    print the kernel's log the same way, without more messages
//     --dmesg                  boot with time stamps and all messages, and print the log,
//                              each line after the millions of instructions until then
//     --bzimage F --initrd F --disk F   other files than the manifest's, for experiments
//     --v86 DIR                directory of the npm package v86
//
// Prints one line of JSON with the figures; ends with status 1 if something is not as it
// has to be. Nothing is verified here: emulator/disk does that, and its tests.

import { existsSync, readFileSync, statSync, openSync, readSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { deflateSync, inflateSync } from "node:zlib";
import { parseArgs } from "node:util";

const { values: args } = parseArgs({
  options: {
    flavour: { type: "string", default: "full" },
    memory: { type: "string", default: "256" },
    append: { type: "string", default: "" },
    cmdline: { type: "string" },
    check: { type: "boolean" },
    order: { type: "boolean" },
    chunks: { type: "boolean" },
    broken: { type: "boolean" },
    halt: { type: "boolean" },
    run: { type: "string" },
    log: { type: "boolean" },
    dmesg: { type: "boolean" },
    bzimage: { type: "string" },
    initrd: { type: "string" },
    disk: { type: "string" },
    v86: { type: "string" },
  },
});

const here = dirname(fileURLToPath(import.meta.url));
const directory = join(here, "out/i386");
const places = [args.v86, join(here, "../node_modules/v86"), process.env.VIVARIUM_V86];
const v86 = places.find((place) => place && existsSync(join(place, "build/libv86.mjs")));
if (!v86) throw new Error("the npm package v86 is not there: run `cargo xtask setup` once, or name it with --v86");
const { V86 } = await import(pathToFileURL(join(v86, "build/libv86.mjs")));

const CHUNK = 256 * 1024;
const BOOT_LIMIT_MS = 180_000; // a loaded machine is slow, a dead guest is slower
const COMMAND_LIMIT_MS = 180_000;
const KEPT_OUTPUT = 1 << 20;

/** The chunked disk as v86 wants it: decodes on demand and counts what a browser would fetch. */
class Disk {
  constructor(layout) {
    this.layout = layout;
    this.byteLength = layout.size;
    this.chunks = new Map();
    this.fetched = 0;
    this.reads = 0;
  }
  load() {
    this.onload?.({});
  }
  chunk(index) {
    let bytes = this.chunks.get(index);
    if (!bytes) {
      const entry = this.layout.chunks[index];
      bytes = entry ? inflateSync(readFileSync(join(directory, this.layout.path, entry.id))) : Buffer.alloc(CHUNK);
      this.fetched += entry?.stored ?? 0;
      this.chunks.set(index, bytes);
    }
    return bytes;
  }
  get(offset, length, done) {
    this.reads += 1;
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; ) {
      const index = Math.floor((offset + at) / CHUNK);
      const from = (offset + at) % CHUNK;
      const take = Math.min(CHUNK - from, length - at);
      bytes.set(this.chunk(index).subarray(from, from + take), at);
      at += take;
    }
    setTimeout(() => done(bytes), 0);
  }
  set(_offset, _bytes, done) {
    done();
  }
  get_and_cache(offset, length, done) {
    this.get(offset, length, done);
  }
  get_from_cache() {
    return undefined;
  }
  get_buffer(done) {
    done();
  }
  get_state() {
    return [];
  }
  set_state() {}
}

/** The same over an uncut image, for comparing file systems. */
class RawDisk extends Disk {
  constructor(path) {
    super({ size: statSync(path).size });
    this.file = openSync(path);
  }
  chunk(index) {
    let bytes = this.chunks.get(index);
    if (!bytes) {
      bytes = Buffer.alloc(CHUNK);
      readSync(this.file, bytes, 0, CHUNK, index * CHUNK);
      this.fetched += deflateSync(bytes, { level: 9 }).length;
      this.chunks.set(index, bytes);
    }
    return bytes;
  }
}

const manifest = JSON.parse(readFileSync(join(directory, `${args.flavour}.json`)));
const file = (path, entry) => {
  let bytes = readFileSync(path ?? join(directory, entry.path));
  if (!path && bytes.length !== (entry.stored ?? entry.size)) throw new Error(`${entry.path} has not the length in the manifest`);
  if (!path && entry.stored) bytes = inflateSync(bytes);
  return new Uint8Array(bytes).buffer;
};
const disk = args.disk ? new RawDisk(args.disk) : manifest.disk && new Disk(manifest.disk);
let cmdline = manifest.cmdline;
if (args.dmesg) cmdline = cmdline.replace("quiet loglevel=4", "loglevel=8 printk.time=1 initcall_debug");
if (args.broken) cmdline = cmdline.replace(/ root=\S+/, "") + " root=/dev/nonsense";
cmdline = args.cmdline ?? `${cmdline} ${args.append}`.trim();

const emulator = new V86({
  wasm_path: join(v86, "build/v86.wasm"),
  memory_size: Number(args.memory) << 20,
  vga_memory_size: 1 << 20,
  bios: { buffer: file(undefined, manifest.firmware.bios) },
  vga_bios: { buffer: file(undefined, manifest.firmware.vgabios) },
  bzimage: { buffer: file(args.bzimage, manifest.kernel) },
  initrd: { buffer: file(args.initrd, manifest.initrd) },
  cmdline,
  hda: disk || undefined,
  virtio_console: true,
  fastboot: true,
  autostart: false,
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
});
await new Promise((loaded) => emulator.add_listener("emulator-loaded", loaded));

const figures = { flavour: args.flavour, memory: Number(args.memory) };
const start = performance.now();
const cpuStart = process.cpuUsage();
const since = () => Math.round(performance.now() - start);
const mips = () => Math.round(emulator.get_instruction_counter() / 1e5) / 10;

let log = "";
let line = "";
const watchers = new Set();
const changed = () => watchers.forEach((look) => look());
emulator.add_listener("serial0-output-byte", (byte) => {
  const char = String.fromCharCode(byte);
  log += char;
  line += char;
  if (char !== "\n") return;
  if (args.log || args.dmesg) process.stderr.write(`${mips().toFixed(1)}M ${line}`);
  const step = line.match(/^vivarium: (init|root|shell)\r?\n/)?.[1];
  if (step) {
    figures[`${step}_ms`] = since();
    figures[`${step}_minstr`] = mips();
  }
  line = "";
  changed();
});

let screen = "";
emulator.add_listener("virtio-console0-output-bytes", (bytes) => {
  screen = (screen + Buffer.from(bytes).toString("latin1")).slice(-KEPT_OUTPUT);
  changed();
});
let halted = false;
emulator.add_listener("cpu-event-halt", () => {
  halted = true;
  changed();
});

/** Resolves when `test` gives something, at the next byte that makes it so. */
function until(what, test, limit = COMMAND_LIMIT_MS) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => end(reject, new Error(`waited ${limit / 1000} s for ${what}`)), limit);
    const look = () => {
      const found = test();
      if (found) end(resolve, found);
      else if (!args.broken && /Kernel panic/.test(log)) end(reject, new Error(`panic while waiting for ${what}`));
    };
    const end = (settle, value) => {
      clearTimeout(timer);
      watchers.delete(look);
      settle(value);
    };
    watchers.add(look);
    look();
  });
}

/** Types bytes as fast as the guest's driver takes them. */
async function type(text) {
  const bytes = new Uint8Array(Buffer.from(text));
  const queue = emulator.v86.cpu.devices.virtio_console.virtio.queues[0];
  for (let at = 0; at < bytes.length; ) {
    if (queue.is_configured() && queue.has_request()) {
      const piece = bytes.slice(at, at + 256);
      emulator.bus.send("virtio-console0-input-bytes", piece);
      at += piece.length;
    } else {
      await new Promise((wake) => setTimeout(wake, 5));
    }
  }
}

let asked = 0;
/** Runs a command line; its status, its output without control sequences, its time. */
async function ask(command, limit) {
  const id = (asked += 1);
  const from = screen.length;
  const began = performance.now();
  // The quotes keep the echo of what is typed from looking like the answer.
  await type(`${command}; echo "<"${id}":$?>"\r`);
  const pattern = new RegExp(`<${id}:(\\d+)>\r?\n`);
  const found = await until(command, () => screen.slice(Math.min(from, screen.length)).match(pattern), limit);
  const typed = `":$?>"`;
  let output = screen.slice(from, screen.lastIndexOf(found[0]));
  output = output.slice(output.lastIndexOf(typed) + typed.length);
  output = output.replace(/\x1b\[[0-9;?]*[a-zA-Z]/g, "").replace(/\r/g, "").trim();
  return { status: Number(found[1]), output, ms: Math.round(performance.now() - began) };
}

const failures = [];
function expect(what, good, found) {
  const shown = typeof found === "string" ? JSON.stringify(found) : (found ?? "");
  console.error(`${good ? "ok  " : "FAIL"} ${what} ${shown}`);
  if (!good) failures.push(what);
}

async function check() {
  const full = args.flavour === "full";
  let answer = await ask("echo READY_$((6*7))_$(uname -r)");
  expect("computed marker", /^READY_42_6\.12\.\d+-vivarium$/.test(answer.output), answer.output);
  answer = await ask("tty; id -un; hostname; echo $TERM $LANG; pwd");
  expect("terminal, user, place", answer.output === "/dev/hvc0\nroot\nvivarium\nxterm-256color C.UTF-8\n/root", answer.output);
  expect("prompt", screen.replace(/\x1b\[[0-9;?]*[a-zA-Z]/g, "").includes("root@vivarium:~# "), "");

  await ask("trap 'echo WINCH' WINCH");
  // v86 writes the two the other way round than the specification has them (glue.js).
  emulator.bus.send("virtio-console0-resize", [37, 101]);
  answer = await ask("sleep 0.2; stty size");
  expect("size follows", answer.output.includes("37 101"), answer.output);
  if (full) expect("SIGWINCH arrives", answer.output.includes("WINCH"), answer.output);
  answer = await ask("stty -a");
  expect("terminal is UTF-8", /[^-]iutf8/.test(answer.output), "");

  answer = await ask("date +%s");
  expect("date", Math.abs(Number(answer.output) - Date.now() / 1000) < 5, answer.output);
  await ask("sleep 0.1");
  answer = await ask("sleep 1");
  expect("sleep 1 takes a second", answer.ms >= 950 && answer.ms < 3000, answer.ms);
  answer = await ask("timeout 2 sleep 30");
  expect("timeout ends a command", [124, 143].includes(answer.status) && answer.ms >= 1900, `${answer.status} after ${answer.ms} ms`);
  answer = await ask("echo x > /dev/shm/a && echo y > /tmp/b && echo z > /etc/c && cat /dev/shm/a /tmp/b /etc/c");
  expect("writable", answer.output === "x\ny\nz", answer.output);
  answer = await ask("ping -c 1 -W 2 127.0.0.1 > /dev/null");
  expect("loopback", answer.status === 0, answer.output);
  const before = screen.length;
  await type("echo abc\x1b[D\x1b[DX\r");
  await until("the edited line", () => /[\r\n]aXbc\r\n/.test(screen.slice(before).replace(/\x1b\[[0-9;?]*[a-zA-Z]/g, "")));
  expect("arrow keys edit", true, "");

  const from = screen.length;
  await type("sleep 300\r");
  await until("the echo", () => screen.slice(from).includes("sleep 300\r\n"));
  await new Promise((wake) => setTimeout(wake, 500));
  await type("\x03");
  answer = await ask("echo after");
  expect("Ctrl-C", answer.output.includes("after"), answer.output);
  answer = await ask("sleep 300 & kill %1 && echo jobs");
  expect("job control", answer.output.includes("jobs") && !/no job control|can't access/.test(screen), "");

  // A new terminal session drops what was typed before it: the prompt is waited for.
  const login = screen.length;
  await type("exit\r");
  await until("a new prompt", () => /vivarium[^]*# $/.test(screen.slice(login).replace(/^[^]*logout|\x1b\[[0-9;?]*[a-zA-Z]/g, "")));
  answer = await ask("echo again $$");
  expect("exit gives a new shell", /again \d+/.test(answer.output), answer.output);
  if (!full) return;

  answer = await ask("python3 -c 'print(6*7)'");
  figures.python_ms = answer.ms;
  figures.python_bytes = disk?.fetched;
  expect("python", answer.output === "42", answer.output);
  answer = await ask("python3 -c 'print(6*7)'");
  figures.python_warm_ms = answer.ms;
  answer = await ask("python3 -c 'import ssl, json, sqlite3, ctypes; print(ssl.OPENSSL_VERSION, len(ssl.create_default_context().get_ca_certs()))'");
  expect("python with ssl", /^OpenSSL 3\.\d.* \d\d\d?$/.test(answer.output), answer.output || screen.slice(-300));
  figures.ssl_ms = answer.ms;
  for (const command of ["git --version", "curl --version", "openssl version", "busybox", "vim --version", "less --version", "ip address show lo", "ps -e", "apt --version", "gawk --version || mawk -W version", "file /bin/bash", "xz --version", "infocmp -1 xterm-256color", "find /etc -name hostname"]) {
    answer = await ask(`${command} | head -n 2`);
    expect(command, answer.status === 0 && answer.output !== "" && !/not found/.test(answer.output), answer.output.split("\n")[0]);
  }
  answer = await ask("locale | sort -u | head -3; printf 'ä' | wc -m");
  expect("UTF-8 locale", answer.output.endsWith("\n1") && !/Cannot set/.test(answer.output), answer.output);
  await ask("mkdir w; cd w; git init -q . && echo a > a && git add a && git commit -qm a && git log --oneline | wc -l");
  answer = await ask("git log --oneline | wc -l; cd");
  expect("git commits", answer.output === "1", answer.output);

  await type("nano text\r");
  await until("nano", () => screen.includes("GNU nano"));
  await type("hello\x18y\r");
  answer = await ask("cat text");
  expect("nano edits", answer.output.includes("hello"), answer.output.slice(-20));
  figures.tour_bytes = disk?.fetched;
}

/** What first visitors type; each line's files are laid out after those of the line before. */
const TOUR = [
  "true",
  "ls --color; cat /etc/motd; uname -a; id; date; ps; df; free; mount; stty size; clear; ls -l | less -F",
  "python3 -c 'print(6*7)'",
  "python3 -c 'import json, re, os, sys, subprocess, pathlib, datetime, random, math, collections'",
  "git --version; git init -q /tmp/g; cd /tmp/g; echo a > a; git add a; git commit -qm a; git log | cat; cd",
  "nano --version; vim --version; (sleep 3; kill %1 2> /dev/null) & grep root /etc/passwd; find /etc -name hostname; sed -n 1p /etc/passwd; awk 1 /etc/hostname; head -1 /etc/passwd; sort /etc/hostname; wc /etc/hostname; tar --version; gzip --version; which ls; ip address; ping -c1 127.0.0.1; hostname; dmesg | tail -1; env; top -bn1 | head; tty; chmod +x /tmp/g; cp /etc/hostname /tmp; mv /tmp/hostname /tmp/h; rm /tmp/h; mkdir /tmp/d; touch /tmp/d/x; file /bin/ls; seq 3; echo a | tee /tmp/x; kill -l; diff /etc/hostname /etc/hosts; xz --version",
  "curl --version; openssl version; python3 -c 'import ssl, urllib.request; ssl.create_default_context()'; curl -s https://127.0.0.1/; openssl rand -hex 4",
  "apt --version; dpkg -l bash; perl -v | head -2",
];

async function order() {
  const seen = new Set();
  for (const line of TOUR) {
    await ask(line, 600_000);
    // Reading a file leaves its pages in memory; fincore tells which files have any.
    const answer = await ask(
      "find /usr /etc /root /var/lib/dpkg -xdev -type f -size +0 -print0 | xargs -0 fincore -rnbo RES,FILE | grep -v '^0 ' > /tmp/order; base64 -w0 /tmp/order",
      1_800_000,
    );
    const files = Buffer.from(answer.output.split("\n").at(-1), "base64").toString().split("\n");
    console.log(`# ${line.slice(0, 90)}`);
    for (const file of files.map((entry) => entry.replace(/^\d+ \//, "")).filter(Boolean).sort()) {
      if (!seen.has(file)) console.log(file);
      seen.add(file);
    }
  }
}

async function main() {
  emulator.v86.run();
  if (args.broken) {
    await until("a panic", () => log.includes("---[ end Kernel panic"), BOOT_LIMIT_MS);
    expect("says what is wrong", /vivarium: .*\/dev\/nonsense/.test(log), log.match(/vivarium: .*nonsense.*/)?.[0] ?? "");
    expect("panics", /Kernel panic - not syncing: Attempted to kill init!/.test(log), "");
    expect("is no boot", !/vivarium: (root|shell)/.test(log), "");
    figures.panic_ms = since();
    return;
  }
  await until("the shell", () => log.includes("vivarium: shell"), BOOT_LIMIT_MS);
  figures.disk_bytes = disk?.fetched;
  figures.disk_chunks = disk?.chunks.size;
  figures.disk_reads = disk?.reads;
  await until("the prompt", () => /[#$] $/.test(screen.replace(/\x1b\[[0-9;?]*[a-zA-Z]/g, "")));
  figures.prompt_ms = since();
  // Of all threads, v86's compilers included: says more than the clock on a loaded machine.
  const cpu = process.cpuUsage(cpuStart);
  figures.prompt_cpu_ms = Math.round((cpu.user + cpu.system) / 1000);
  const steps = log.match(/vivarium: (init|root|shell)/g).join();
  expect("markers in order", steps === "vivarium: init,vivarium: root,vivarium: shell", steps);
  if (args.run) {
    const answer = await ask(args.run);
    figures.run_ms = answer.ms;
    console.log(answer.output);
  }
  if (args.order) await order();
  if (args.check) await check();
  if (args.halt) {
    await type("poweroff\r");
    await until("the end", () => halted || /System halted|Power down/.test(log));
    expect("poweroff stops the machine", true, log.slice(-60));
  }
  expect("no panic", !/Kernel panic|BUG:|Oops/.test(log), "");
  expect("one shell marker", log.split("vivarium: shell").length === 2, "");
}

try {
  await main();
} catch (error) {
  console.error(`FAIL ${error.message}\n--- kernel log\n${log.slice(-3000)}\n--- terminal\n${screen.slice(-1500)}`);
  failures.push(error.message);
}
figures.loaded_bytes = [manifest.kernel, manifest.initrd, manifest.firmware.bios, manifest.firmware.vgabios].reduce((sum, entry) => sum + (entry.stored ?? entry.size), 0);
if (args.chunks && disk) console.error([...disk.chunks.keys()].join(" "));
console.log(JSON.stringify(figures));
process.exit(failures.length ? 1 : 0);
