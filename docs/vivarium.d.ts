/** The programmatic face of the page; docs/api.md tells how to use it. */

/** An engine; `"kernel"` stands for the best one that runs a real Linux kernel. */
type VivariumEngine = "sim" | "v86" | "x86-64";

type VivariumState = "idle" | "booting" | "running" | "paused" | "saving" | "halted" | "failed";

/** What went wrong with a machine or a snapshot. */
type VivariumFaultCode =
  | "kernel-panic"
  | "triple-fault"
  | "hang"
  | "image-missing"
  | "image-corrupt"
  | "resources"
  | "unsupported"
  | "engine-crash"
  | "version-mismatch"
  | "snapshot-damaged"
  | "snapshot-refused"
  | "storage-full"
  | "storage-unavailable"
  | "taken-over"
  /** Too much input waits, another tab runs the machine, or something has to end first. */
  | "busy";

/** `code` of the errors that this object makes. */
type VivariumErrorCode =
  | VivariumFaultCode
  /** Another boot took this machine's place. */
  | "superseded"
  /** The guest switched itself off before its prompt. */
  | "halted"
  /** An argument makes no sense. */
  | "invalid";

interface VivariumError extends Error {
  code: VivariumErrorCode;
}

interface VivariumBootOptions {
  engine?: VivariumEngine | "kernel";
  /** Guest memory in MiB. */
  memory?: number;
  /** The guest image; ignored by `sim`. */
  flavour?: "full" | "busybox";
  /** Words appended to the kernel's command line; ignored by `sim`. */
  cmdline?: string;
  /** The name under which the machine is saved and found again; ignored by `sim`. */
  machine?: string;
  /** Where it begins: where it was saved last, at the shipped prompt, with its firmware. */
  start?: "head" | "fresh" | "cold";
  /** Whether another tab that runs this machine is to save it and give it up. */
  takeOver?: boolean;
}

interface VivariumStats {
  /** Million guest instructions a second; null where the engine does not count them. */
  mips: number | null;
  /** Guest instructions since boot; null where the engine does not count them. */
  instructions: number | null;
  /** Guest memory in MiB; null for an engine without memory of its own. */
  memoryMib: number | null;
  /** Bytes of linear memory that the machine takes, the guest's among them; compiled code is not counted. */
  hostBytes: number;
  /** Image bytes fetched over the network since boot. */
  fetched: number;
  /** Files and chunks fetched over the network since boot. */
  requests: number;
  /** Console bytes from the guest since boot. */
  console: number;
  /** Milliseconds since boot. */
  uptimeMs: number;
}

interface VivariumFault {
  code: VivariumFaultCode;
  /** One sentence: what happened. */
  message: string;
  /** One sentence: what to do next. */
  advice: string;
  /** The last words of the guest or of the engine; may be empty. */
  detail: string;
  /** Whether the page offers to try again without losing the machine. */
  retry: boolean;
}

interface VivariumConsole {
  /** Types text on the guest's console. Throws a {@link VivariumError} `"busy"`. */
  write(text: string): void;
  /** Screen and scrollback: wrapped lines joined, trailing blanks trimmed. */
  text(): string;
  /** Size of the terminal in cells. */
  size(): { columns: number; rows: number };
}

/** A saved machine. */
interface VivariumSnapshot {
  /** 64 hexadecimal digits: the hash of what was saved. */
  id: string;
  /** Given by a person or a program; one with a name is kept until it is removed. */
  name: string | null;
  /** The machine that it was saved of. */
  machine: string;
  /** Milliseconds since 1970. */
  savedAt: number;
  /** Name of the engine that ran it. */
  engine: string;
  /** Guest memory in MiB. */
  memory: number;
  /** Stored bytes of all that it needs. */
  bytes: number;
  /** Those of them that no other snapshot needs: what its removal frees. */
  ownBytes: number;
  /** Those of them that its save has written. */
  deltaBytes: number;
  /** Whether a machine goes on from it. */
  isHead: boolean;
}

interface VivariumSaved extends VivariumSnapshot {
  /** How long the guest stood still. */
  pauseMs: number;
  /** From the call to the last word of the disk. */
  tookMs: number;
}

interface VivariumUsage {
  /** Bytes in use by this site; the browser's own estimate. */
  used: number;
  /** Bytes that it may use; a hint, no promise. */
  quota: number;
  /** Whether the browser has promised not to remove it when space is short. */
  persisted: boolean;
}

/** All promises are rejected with a {@link VivariumError}. */
interface VivariumSnapshots {
  /** Saves the machine that runs; fulfilled when it is safe from a crash. */
  save(options?: { name?: string | null }): Promise<VivariumSaved>;
  /** All snapshots, the youngest first. */
  list(): Promise<VivariumSnapshot[]>;
  /** Ends the machine that runs; fulfilled when the restored one does. */
  restore(id: string): Promise<void>;
  /** Lets another machine go on from a snapshot; `machine` of the result is its name. */
  fork(id: string, machine?: string): Promise<VivariumSnapshot>;
  /** Removes a snapshot and what only it needs. */
  remove(id: string): Promise<void>;
  /** Names a snapshot; `null` takes the name away. */
  rename(id: string, name: string | null): Promise<void>;
  /** Reads all of a snapshot and checks it. */
  verify(id: string): Promise<VivariumSnapshot>;
  /** A snapshot as one file of type `application/gzip`. */
  export(id: string): Promise<Blob>;
  /** Takes an exported file of at most 1 GiB; all of it is checked first. */
  import(file: Blob): Promise<VivariumSnapshot>;
  usage(): Promise<VivariumUsage>;
}

/** How it stands with the relay; reasons and greetings are text of strangers. */
type VivariumRelay =
  | { type: "off" }
  | { type: "connecting" }
  | { type: "up"; version: number; udp: boolean; greeting: string | null }
  /** `retryMs` until the next try, as of the report. */
  | { type: "backingOff"; retryMs: number; reason: string }
  | { type: "refused"; reason: string }
  | { type: "authenticationNeeded"; reason: string };

/** One connection of the guest, or one pair of ports that exchange datagrams. */
interface VivariumFlow {
  id: number;
  transport: "tcp" | "udp";
  /** Name that the guest asked for, or the address if it asked for none. */
  host: string;
  port: number;
  state: "opening" | "open" | "closing" | "closed";
  /** Payload bytes from the guest. */
  sent: number;
  /** Payload bytes to the guest. */
  received: number;
  /** As of the report. */
  ageMs: number;
  /** How it ended. */
  why: string | null;
}

/** A destination that was not reached because a rule says so. */
interface VivariumBlocked {
  host: string;
  port: number;
  transport: "tcp" | "udp";
  why: string;
  /** How often. */
  count: number;
}

interface VivariumNetworkStatus {
  relay: VivariumRelay;
  /** The relay's address. */
  address: string | null;
  /** The guest's own address, once it has one. */
  lease: string | null;
  /** At most 200, the newest first. */
  flows: VivariumFlow[];
  blocked: VivariumBlocked[];
  /** Payload bytes of all flows ever. */
  sent: number;
  received: number;
  /** Bytes that are recorded; null if nothing is. */
  captured: number | null;
}

/** What is decided here holds until the page is loaded anew. */
interface VivariumNetwork {
  status(): VivariumNetworkStatus;
  /** Uses this relay, or none for `"off"`. Throws a {@link VivariumError} `"invalid"`. */
  connect(url: string, options?: { user?: string; password?: string }): void;
  disconnect(): void;
  /** Tries at once, also after a refusal. */
  reconnect(): void;
  /** The rules in force. */
  policy(): string;
  /** Throws a {@link VivariumError} `"invalid"`; then nothing has changed. */
  setPolicy(text: string): void;
  readonly capture: {
    /** Throws a {@link VivariumError} `"unsupported"`. */
    start(): void;
    /** The recorded frames as a pcap file. */
    stop(): Promise<Uint8Array>;
  };
}

interface Vivarium {
  readonly engine: VivariumEngine;
  readonly state: VivariumState;
  /** Starts a new machine; fulfilled at its prompt, rejected with a {@link VivariumError}. */
  boot(options?: VivariumBootOptions): Promise<void>;
  /** Starts the last machine anew. */
  reset(): Promise<void>;
  pause(): void;
  resume(): void;
  /** The last report, about a second old. */
  stats(): VivariumStats;
  readonly console: VivariumConsole;
  readonly snapshots: VivariumSnapshots;
  readonly network: VivariumNetwork;
  /** Calls back from now on; call what it returns to end that. */
  on(topic: "state", callback: (state: VivariumState) => void): () => void;
  on(topic: "console", callback: (text: string) => void): () => void;
  on(topic: "fault", callback: (fault: VivariumFault) => void): () => void;
  on(topic: "network", callback: (status: VivariumNetworkStatus) => void): () => void;
  /** Version of the app. */
  readonly version: string;
  /** Version of the vocabulary between the page and its workers. */
  readonly protocol: number;
  readonly debug: {
    /** Makes the engine's worker panic. */
    crash(): void;
  };
}

interface Window {
  readonly vivarium: Vivarium;
}

declare const vivarium: Vivarium;
