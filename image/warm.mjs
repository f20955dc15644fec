#!/usr/bin/env node
// Boots a guest image once, with the very adapter that browsers use, and writes the machine
// as it stands at its prompt.
//
//   node image/warm.mjs MTU DIRECTORY FLAVOUR MEMORY OUT
//
// DIRECTORY holds the image's manifest (image/out/i386), OUT gets `screen`, a file for each
// section, and `sections`, their list. xtask makes a snapshot of them, whose chunks a first visitor fetches instead of
// waiting for a boot. The guest's Ethernet frames go to standard output, and those for it come
// from standard input, each after its length (32 bits, little endian): at the other end is
// the gateway that the guest will have in a browser.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inflateSync } from "node:zlib";

const [mtu, directory, flavour, memory, out] = process.argv.slice(2);
const here = import.meta.dirname;
const manifest = JSON.parse(readFileSync(join(directory, `${flavour}.json`)));
const v86 = join(here, "../node_modules/v86/build");
const { V86 } = await import(join(v86, "libv86.mjs"));
// A module by its content, since its name says nothing of that to Node.js.
const glue = readFileSync(join(here, "../emulator/v86/src/glue.js"), "utf8");
const { Machine } = await import(`data:text/javascript,${encodeURIComponent(glue)}`);

const LIMIT_MS = 300_000; // a loaded machine is slow, a dead guest is slower
const REST_MS = 2_000; // after the prompt, until the guest has nothing more to do

const file = (entry) => {
  const bytes = readFileSync(join(directory, entry.path));
  return new Uint8Array(entry.stored ? inflateSync(bytes) : bytes);
};

/** Reads the chunked disk. */
function disk() {
  const { chunks, chunk_size: size, path } = manifest.disk;
  const kept = new Map();
  const chunk = (index) => {
    if (!kept.has(index)) {
      const entry = chunks[index];
      kept.set(index, entry ? inflateSync(readFileSync(join(directory, path, entry.id))) : Buffer.alloc(size));
    }
    return kept.get(index);
  };
  return (offset, length, done) => {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; ) {
      const from = (offset + at) % size;
      const piece = chunk(Math.floor((offset + at) / size)).subarray(from, from + length - at);
      bytes.set(piece, at);
      at += piece.length;
    }
    setTimeout(() => done(bytes), 0);
  };
}

let screen = Buffer.alloc(0);
let log = "";
const fail = (why) => {
  console.error(`warm.mjs: ${why}\n--- kernel log\n${log.slice(-2000)}\n--- terminal\n${screen}`);
  process.exit(1);
};

const code = { V86, wasm: await WebAssembly.compile(readFileSync(join(v86, "v86.wasm"))) };
const options = {
  memory: Number(memory) << 20,
  vgaMemory: 1 << 20, // VGA_MEMORY of emulator/v86/src/lib.rs
  bios: file(manifest.firmware.bios),
  vgaBios: file(manifest.firmware.vgabios),
  kernel: file(manifest.kernel),
  initrd: file(manifest.initrd),
  cmdline: manifest.cmdline,
  diskSize: manifest.disk?.size ?? 0,
  mtu: Number(mtu),
};
const hooks = {
  read: manifest.disk && disk(),
  write: () => fail("the guest wrote to its disk"),
  frame: (bytes) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    process.stdout.write(Buffer.concat([length, bytes]));
  },
  console: (bytes) => (screen = Buffer.concat([screen, bytes])),
  serial: (byte) => (log += String.fromCharCode(byte)),
  halted: () => fail("the guest switched itself off"),
  crashed: (error) => fail(error),
  reset: () => fail("the guest reset itself"),
};
const machine = await Machine.create(code, options, hooks);
machine.resize(80, 24);
machine.run();

let coming = Buffer.alloc(0);
process.stdin.on("data", (bytes) => {
  coming = Buffer.concat([coming, bytes]);
  while (coming.length >= 4 && coming.length >= 4 + coming.readUInt32LE(0)) {
    const end = 4 + coming.readUInt32LE(0);
    // A guest that is not ready for it asks again.
    machine.deliver(new Uint8Array(coming.subarray(4, end)));
    coming = coming.subarray(end);
  }
  machine.delivered();
});

const start = Date.now();
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const said = (step) => log.includes(`vivarium: ${step}`);
while (!said("shell") || !said("network") || !/[$#] (\x1b\[[0-9;?]*[a-zA-Z])*$/.test(screen)) {
  if (/Kernel panic/.test(log)) fail("the kernel panicked");
  if (Date.now() - start > LIMIT_MS) fail("no prompt, or no address of the network");
  await wait(50);
}
await wait(REST_MS);
while (machine.busy()) await wait(10);
machine.stop();
await wait(50);
writeFileSync(join(out, "devices"), machine.save());
// Not the view itself: v86 has given it a constructor that Node.js does not know.
const ram = machine.memory();
writeFileSync(join(out, "ram"), Buffer.from(ram.buffer, ram.byteOffset, ram.length));
writeFileSync(join(out, "screen"), screen);
writeFileSync(join(out, "sectors"), "");
// Name and versions are those of emulator/v86/src/saving.rs.
writeFileSync(join(out, "sections"), "v86 2\ndevices 1 chunked\nram 1 chunked\nsectors 1 chunked\n");
process.exit(0);
