// The world behind the relay: a web server on loopback, with and without TLS, whose bodies
// are known to the byte.
//
//   GET  /status            a word
//   GET  /large             LARGE bytes, as fast as they are taken
//   GET  /paced             the same, a little at a time, so that it can be interrupted
//   GET  /slow              a byte a second, and no end
//   GET  /together/3?of=32  answered only when all 32 are asked for at once
//   POST /echo              the body comes back while it is still arriving
//   POST /sink              the body is counted
//   else                    files of the folder that the server was given
import crypto from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import https from "node:https";
import path from "node:path";
import type { AddressInfo, Socket } from "node:net";
import type { Authority } from "./authority.ts";

export const LARGE = 20_000_000;
/** SHA-256 of LARGE bytes of `body`, as openssl and sha256sum have it. */
export const LARGE_SHA256 = "4845a77d0c33756f66ef912b33c1b11540b7367a73538dd20cdbdf3777924080";

/** Bytes of a piece of `/together`. */
export const PIECE = 100_000;

const PACE = { bytes: 64 * 1024, everyMs: 50 };

/** Requests that are remembered. */
const REMEMBERED = 1_000;

/** Bytes without a pattern that a fault could hide in: AES-CTR over zeros, keyed by a number. */
export function body(length: number, which = 0): Buffer {
  const key = Buffer.alloc(16, which);
  return crypto.createCipheriv("aes-128-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

export const sha256 = (bytes: Buffer | string): string => crypto.createHash("sha256").update(bytes).digest("hex");

type Handler = (request: http.IncomingMessage, response: http.ServerResponse, url: URL) => void;

export class Web {
  /** Connections that were ever accepted. */
  accepted = 0;
  /** Method and path of the last requests. */
  readonly requests: string[] = [];
  private readonly open = new Set<Socket>();
  private readonly waiting = new Map<string, () => void>();
  private readonly large = body(LARGE);
  private readonly handlers: Record<string, Handler> = {
    "GET /status": (_, response) => response.end("fine\n"),
    "GET /large": (_, response) => send(response, this.large),
    "GET /paced": (_, response) => this.paced(response),
    "GET /slow": (_, response) => slow(response),
    "POST /echo": (request, response) => {
      response.setHeader("Content-Type", "application/octet-stream");
      request.pipe(response);
    },
    "POST /sink": (request, response) => {
      let length = 0;
      request.on("data", (piece: Buffer) => (length += piece.length)).on("end", () => response.end(`counted ${length}\n`));
    },
  };

  private constructor(
    private readonly server: http.Server,
    private readonly scheme: string,
    private readonly folder?: string,
  ) {
    server.on("request", (request, response) => this.answer(request, response));
    server.on("connection", (socket: Socket) => {
      this.accepted++;
      this.open.add(socket);
      // A guest whose relay is killed leaves resets behind; that is what is tested.
      socket.on("error", () => {});
      socket.once("close", () => this.open.delete(socket));
    });
  }

  static async start(options: { authority?: Authority; folder?: string } = {}): Promise<Web> {
    const { authority, folder } = options;
    const server = authority ? https.createServer({ cert: authority.cert, key: authority.key }) : http.createServer();
    const web = new Web(server, authority ? "https" : "http", folder);
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    return web;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** Connections that are there now. */
  get connections(): number {
    return this.open.size;
  }

  /** Its address under a name of the test's zone. */
  at(host: string, path = ""): string {
    return `${this.scheme}://${host}:${this.port}/${path}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    for (const socket of this.open) socket.destroy();
    await new Promise((closed) => this.server.close(closed));
  }

  private answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const url = new URL(request.url ?? "/", "http://none");
    this.requests.push(`${request.method} ${url.pathname}`);
    if (this.requests.length > REMEMBERED) this.requests.shift();
    const handler = this.handlers[`${request.method} ${url.pathname}`];
    const together = /^\/together\/(\d+)$/.exec(url.pathname);
    if (handler) handler(request, response, url);
    else if (together) this.together(Number(together[1]), Number(url.searchParams.get("of")), response);
    else this.file(url.pathname, response);
  }

  /** Holds each answer until all have been asked for: nothing is left of it one by one. */
  private together(which: number, of: number, response: http.ServerResponse): void {
    this.waiting.set(`${which}`, () => send(response, body(PIECE, which)));
    if (this.waiting.size < of) return;
    this.waiting.forEach((go) => go());
    this.waiting.clear();
  }

  private paced(response: http.ServerResponse): void {
    response.setHeader("Content-Length", LARGE);
    let at = 0;
    const timer = setInterval(() => {
      if (response.writableNeedDrain) return;
      response.write(this.large.subarray(at, (at += PACE.bytes)));
      if (at >= LARGE) response.end();
    }, PACE.everyMs);
    response.once("close", () => clearInterval(timer));
  }

  private file(name: string, response: http.ServerResponse): void {
    const folder = this.folder && path.resolve(this.folder);
    const file = folder && path.join(folder, path.normalize(decodeURIComponent(name)));
    const found = [file, file && path.join(file, "index.html")].find((place) => place && fs.statSync(place, { throwIfNoEntry: false })?.isFile());
    if (!found) {
      response.writeHead(404).end("not here\n");
      return;
    }
    if (found.endsWith(".html")) response.setHeader("Content-Type", "text/html");
    send(response, fs.readFileSync(found));
  }
}

function send(response: http.ServerResponse, bytes: Buffer): void {
  response.setHeader("Content-Length", bytes.length);
  response.end(bytes);
}

function slow(response: http.ServerResponse): void {
  response.flushHeaders();
  response.write("first\n");
  const timer = setInterval(() => response.write("."), 1_000);
  response.once("close", () => clearInterval(timer));
}
