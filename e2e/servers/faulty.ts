// A server in front of the real one, with faults on demand:
//   PUT /__fault?path=REGEX&kind=missing|corrupt|stalled   requests that match suffer it
//   DELETE /__fault                                        all is well again
import http from "node:http";
import type { AddressInfo } from "node:net";

type Kind = "missing" | "corrupt" | "stalled";

export class Faulty {
  private constructor(
    readonly url: string,
    private readonly server: http.Server,
  ) {}

  static async start(base: string): Promise<Faulty> {
    let fault: { path: RegExp; kind: Kind } | undefined;
    const server = http.createServer(async (request, response) => {
      const url = new URL(request.url ?? "/", base);
      if (url.pathname === "/__fault") {
        fault =
          request.method === "PUT"
            ? { path: new RegExp(url.searchParams.get("path") ?? "^$"), kind: url.searchParams.get("kind") as Kind }
            : undefined;
        response.writeHead(204).end();
        return;
      }
      const kind = fault?.path.test(url.pathname) ? fault.kind : undefined;
      if (kind === "stalled") return;
      if (kind === "missing") {
        response.writeHead(404, { "Content-Type": "text/plain" }).end("not here");
        return;
      }
      const answer = await fetch(url, { redirect: "manual" });
      const body = Buffer.from(await answer.arrayBuffer());
      if (kind === "corrupt" && body.length > 0) {
        const middle = body.length >> 1;
        body[middle] = (body[middle] ?? 0) ^ 0xff;
      }
      const headers: Record<string, string> = {};
      for (const name of ["content-type", "content-security-policy"]) {
        const value = answer.headers.get(name);
        if (value) headers[name] = value;
      }
      // A cache must not hide a fault, nor keep a damaged file.
      headers["cache-control"] = "no-store";
      response.writeHead(answer.status, headers).end(body);
    });
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    const { port } = server.address() as AddressInfo;
    return new Faulty(`http://127.0.0.1:${port}/`, server);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((closed) => this.server.close(closed));
  }
}
