// The npm package wisp-js (LGPL) as a client, in a process of its own. Test only.
//
//   node wisp-js-client.mjs '{"url", "version", "streams": [{"host", "port", "type"?, "text"?,
//                             "bytes"?, "piece"?, "until"?}]}'
//
// Opens all streams at once. Each sends `text`, or `bytes` bytes of a pattern in pieces of
// `piece`, and ends after `until` received bytes or when the server ends it. Prints one line
// of JSON: the terms of the connection, and for each stream what came back.
import crypto from "node:crypto";
import { client } from "@mercuryworkshop/wisp-js/client";

const LIMIT_MS = 30_000;

console.warn = () => {};
const task = JSON.parse(process.argv[2]);
const give = (result) => {
  console.log(JSON.stringify(result));
  process.exit(0);
};
setTimeout(() => give({ error: "too late", streams: results }), LIMIT_MS);

const results = [];
const connection = new client.ClientConnection(task.url, { wisp_version: task.version });
connection.onerror = () => give({ error: "no connection", streams: results });
connection.onclose = () => give({ error: "the connection ended", streams: results });
connection.onopen = async () => {
  const { wisp_version: version, udp_enabled: udp, server_motd: motd } = connection;
  await Promise.all(task.streams.map((stream) => run(stream)));
  give({ version, udp, motd: motd ?? null, streams: results });
};

function run({ host, port, type = "tcp", text, bytes = 0, piece = 16 * 1024, until = Infinity }, start = performance.now()) {
  const hash = crypto.createHash("sha256");
  const result = { received: 0, reason: null };
  results.push(result);
  const payload = text === undefined ? pattern(bytes) : Buffer.from(text);
  return new Promise((done) => {
    const stream = connection.create_stream(host, port, type);
    const end = (reason) => {
      Object.assign(result, { reason, sha256: hash.digest("hex"), ms: performance.now() - start });
      done();
    };
    stream.onclose = end;
    stream.onmessage = (data) => {
      if (!result.first && text !== undefined) result.first = Buffer.from(data).toString("latin1").slice(0, 200);
      result.received += data.length;
      hash.update(data);
      if (result.received < until) return;
      stream.onclose = () => {};
      stream.close(0x02);
      end(null);
    };
    for (let at = 0; at < payload.length; at += piece) stream.send(payload.subarray(at, at + piece));
  });
}

/** The same bytes as `body` of e2e/servers/web.ts. */
function pattern(length) {
  return crypto.createCipheriv("aes-128-ctr", Buffer.alloc(16), Buffer.alloc(16)).update(Buffer.alloc(length));
}
