// WISP as others have written it, in processes of their own.
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { Child } from "./child.ts";
import { python } from "./python.ts";

const here = path.resolve(import.meta.dirname, "../interop");

/** Servers of others, and the version that they speak to a client that speaks both. */
export const SERVERS: { name: string; version: number; start(): Promise<Child> }[] = [
  { name: "wisp-js, version 2", version: 2, start: () => wispJs(2) },
  { name: "wisp-js, version 1", version: 1, start: () => wispJs(1) },
  { name: "wisp-python", version: 1, start: () => Child.start(python(), [path.join(here, "wisp-python-server.py")]) },
];

export function wispJs(version: number): Promise<Child> {
  return Child.start(process.execPath, [path.join(here, "wisp-js-server.mjs"), `${version}`]);
}

export type Stream = {
  host: string;
  port: number;
  type?: "tcp" | "udp";
  text?: string;
  bytes?: number;
  piece?: number;
  until?: number;
};

export type Exchange = {
  error?: string;
  version: number;
  udp: boolean;
  motd: string | null;
  streams: { received: number; reason: number | null; sha256: string; ms: number; first?: string }[];
};

/** wisp-js's client does this against a server. */
export async function wispJsClient(url: string, version: number, streams: Stream[]): Promise<Exchange> {
  const task = JSON.stringify({ url, version, streams });
  const { stdout } = await promisify(execFile)(process.execPath, [path.join(here, "wisp-js-client.mjs"), task]);
  return JSON.parse(stdout);
}
