// The JavaScript side of the adapter: what cannot be said in Rust about a package that is
// written in JavaScript, and nothing else. Decisions are made in Rust.
//
// v86 (npm, pinned in package.json) is an ES module that is loaded when a machine boots,
// so that nobody downloads it for the simulated shell. Besides its documented interface,
// this file relies on these inner names of version 0.5.462; all are used in `Machine`:
//   emulator.v86.{run, stop, do_tick}           the run loop
//   emulator.v86.cpu.reboot_internal            the reset line
//   emulator.v86.cpu.{instruction_counter, cr}  counters and control registers
//   emulator.v86.cpu.devices.virtio_console.virtio.queues[n].has_request()
//   emulator.v86.cpu.devices.virtio_net.{mac, virtio.device_feature, virtio.queues[0]}  network card
//   emulator.v86.{save_state, restore_state}    device state
//   emulator.v86.cpu.{mem8, memory_size, zero_memory, pack_memory, unpack_memory}  memory

const CONSOLE_BUFFER = 4096; // the guest's driver posts console buffers of one page
const AGENT_PORT = 1; // of the virtio console: image/agent/agent.c reads /dev/hvc1
const PAGING = 1 << 31; // CR0.PG

// The network card (virtio 1.2, section 5.1). Its frames go from here to a gateway and no
// further, so nobody computes checksums: the guest may leave them out, and is told that what
// it gets is right.
const NET_CSUM = 1 << 0; // feature: the guest may leave out checksums
const NET_HEADER = 12; // struct virtio_net_hdr, with num_buffers
const NET_DATA_VALID = 2; // in its flags
const MAC = [0x02, 0x76, 0x6d, 0x00, 0x00, 0x02]; // administered locally; the same in every machine

/** Loads the code of v86, and compiles it while it arrives. */
export async function load(base) {
  const [module, wasm] = await Promise.all([
    import(`${base}vendor/v86/libv86.mjs`),
    WebAssembly.compileStreaming(fetch(`${base}vendor/v86/v86.wasm`)),
  ]);
  return { V86: module.V86, wasm };
}

/** What v86 takes for a hard disk: an object with the interface of its own buffers. */
class Disk {
  constructor(size, read, write) {
    this.byteLength = size;
    this.read = read;
    this.write = write;
    this.pending = 0; // reads that the guest waits for
  }
  load() {
    this.onload?.({});
  }
  get(offset, length, done) {
    this.pending += 1;
    this.read(offset, length, (bytes) => {
      this.pending -= 1;
      done(bytes);
    });
  }
  set(offset, bytes, done) {
    this.write(offset, bytes);
    done();
  }
  // v86 looks for a partition table in the first sector before the machine starts. Our disks
  // have none, so it need not wait for a chunk to learn that.
  get_and_cache(offset, length, done) {
    done(new Uint8Array(length));
  }
  get_from_cache(offset, length) {
    return new Uint8Array(length);
  }
  get_buffer(done) {
    done(); // "not in memory as a whole"
  }
  get_state() {
    return [];
  }
  set_state() {}
}

export class Machine {
  /**
   * Makes a machine that stands at its reset vector. One that is about to be restored needs
   * no files to start from.
   */
  static async create(code, options, hooks) {
    const machine = new Machine();
    const file = (bytes) => bytes && { buffer: bytes.buffer };
    if (options.diskSize) machine.disk = new Disk(options.diskSize, hooks.read, hooks.write);
    const emulator = new code.V86({
      wasm_fn: async (imports) => (await WebAssembly.instantiate(code.wasm, imports)).exports,
      memory_size: options.memory,
      vga_memory_size: options.vgaMemory,
      bios: file(options.bios),
      vga_bios: file(options.vgaBios),
      bzimage: file(options.kernel),
      initrd: file(options.initrd),
      cmdline: options.cmdline,
      hda: machine.disk,
      virtio_console: true,
      net_device: { type: "virtio", mtu: options.mtu },
      fastboot: true,
      autostart: false,
      disable_keyboard: true,
      disable_mouse: true,
      disable_speaker: true,
    });
    machine.emulator = emulator;
    await new Promise((loaded) => emulator.add_listener("emulator-loaded", loaded));
    emulator.add_listener("virtio-console0-output-bytes", hooks.console);
    emulator.add_listener("serial0-output-byte", hooks.serial);
    emulator.add_listener("cpu-event-halt", hooks.halted);
    emulator.add_listener("net0-send", hooks.frame);
    const card = emulator.v86.cpu.devices.virtio_net;
    card.mac.set(MAC);
    card.virtio.device_feature[0] |= NET_CSUM;
    machine.guard(hooks);
    return machine;
  }

  /** Ends the machine at a reset or at a breakdown of v86 instead of going on blindly. */
  guard(hooks) {
    const inner = this.emulator.v86;
    const tick = inner.do_tick;
    inner.do_tick = function () {
      try {
        tick.call(this);
      } catch (error) {
        this.running = false;
        hooks.crashed(`${error?.stack ?? error}`);
      }
    };
    inner.cpu.reboot_internal = () => {
      inner.stop();
      hooks.reset();
    };
  }

  run() {
    this.emulator.v86.run();
  }
  stop() {
    this.emulator.v86.stop();
  }
  /** Hands console input to the guest as far as it has posted buffers; returns the count. */
  send(bytes) {
    const queue = this.emulator.v86.cpu.devices.virtio_console.virtio.queues[0];
    let sent = 0;
    while (sent < bytes.length && queue.is_configured() && queue.has_request()) {
      const piece = bytes.slice(sent, sent + CONSOLE_BUFFER);
      this.emulator.bus.send("virtio-console0-input-bytes", piece);
      sent += piece.length;
    }
    return sent;
  }
  resize(columns, rows) {
    // v86 takes [columns, rows] and writes the rows first into its control message. The
    // specification (virtio 1.2, 5.3.6.2) has the columns first, and so does the kernel
    // since it was corrected in 6.12.y; so they are handed over the other way round.
    this.emulator.bus.send("virtio-console0-resize", [rows, columns]);
  }
  /** Hands the guest's agent a frame; false if it has no buffer posted for it. */
  tell(bytes) {
    const queue = this.emulator.v86.cpu.devices.virtio_console.virtio.queues[2 * AGENT_PORT + 2];
    if (!queue.is_configured() || !queue.has_request()) return false;
    this.emulator.bus.send(`virtio-console${AGENT_PORT}-input-bytes`, bytes);
    return true;
  }
  /** Hands the guest's network card a frame; false if it has no buffer posted for it. */
  deliver(frame) {
    const queue = this.emulator.v86.cpu.devices.virtio_net.virtio.queues[0];
    if (!queue.is_configured() || !queue.has_request()) return false;
    const bytes = new Uint8Array(NET_HEADER + frame.length);
    bytes[0] = NET_DATA_VALID;
    bytes[10] = 1; // num_buffers
    bytes.set(frame, NET_HEADER);
    const buffer = queue.pop_request();
    buffer.set_next_blob(bytes);
    queue.push_reply(buffer);
    return true;
  }
  /** Tells the guest of the frames that were handed over. */
  delivered() {
    this.emulator.v86.cpu.devices.virtio_net.virtio.queues[0].flush_replies();
  }
  /** Whether the guest waits for its disk: such a read has no place in a saved state. */
  busy() {
    return (this.disk?.pending ?? 0) > 0;
  }
  /** The guest's memory, as it is: valid until the machine runs again. */
  memory() {
    return this.emulator.v86.cpu.mem8;
  }
  /** State of processor and devices in v86's own format, without the guest's memory. */
  save() {
    const { cpu } = this.emulator.v86;
    cpu.pack_memory = () => ({
      packed_memory: new Uint8Array(0),
      bitmap: { get_buffer: () => new ArrayBuffer(0) },
    });
    try {
      return new Uint8Array(this.emulator.v86.save_state());
    } finally {
      delete cpu.pack_memory;
    }
  }
  /** Takes such a state; the memory is the caller's to fill, and zeros until then. */
  restore(state) {
    const { cpu } = this.emulator.v86;
    cpu.unpack_memory = () => cpu.zero_memory(0, cpu.memory_size[0]);
    try {
      this.emulator.v86.restore_state(state.buffer);
    } finally {
      delete cpu.unpack_memory;
    }
  }
  /** Instructions since the start, modulo 2^32. */
  instructions() {
    return this.emulator.get_instruction_counter();
  }
  /** Bytes of v86's linear memory, the guest's among them. */
  hostBytes() {
    return this.memory().buffer.byteLength;
  }
  /** Whether the guest has switched paging on: the firmware never does, a kernel at once. */
  paging() {
    return (this.emulator.v86.cpu.cr[0] & PAGING) !== 0;
  }
}
