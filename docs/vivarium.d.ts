/** The programmatic face of the page; docs/api.md tells how to use it. */

/** An engine; `"kernel"` stands for the best one that runs a real Linux kernel. */
type VivariumEngine = "sim" | "v86";

type VivariumState = "idle" | "booting" | "running" | "paused" | "saving" | "halted" | "failed";

/** What went wrong with a machine. */
type VivariumFaultCode =
  | "kernel-panic"
  | "triple-fault"
  | "hang"
  | "image-missing"
  | "image-corrupt"
  | "resources"
  | "unsupported"
  | "engine-crash"
  | "version-mismatch";

/** `code` of the errors that this object makes. */
type VivariumErrorCode =
  | VivariumFaultCode
  /** Another boot took this machine's place. */
  | "superseded"
  /** The guest switched itself off before its prompt. */
  | "halted"
  /** An argument makes no sense. */
  | "invalid"
  /** Too much console input waits already. */
  | "busy";

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
}

interface VivariumStats {
  /** Million guest instructions a second; null where the engine does not count them. */
  mips: number | null;
  /** Guest instructions since boot; null where the engine does not count them. */
  instructions: number | null;
  /** Guest memory in MiB; null for an engine without memory of its own. */
  memoryMib: number | null;
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
  /** Calls back from now on; call what it returns to end that. */
  on(topic: "state", callback: (state: VivariumState) => void): () => void;
  on(topic: "console", callback: (text: string) => void): () => void;
  on(topic: "fault", callback: (fault: VivariumFault) => void): () => void;
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
