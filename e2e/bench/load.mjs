// A client of WISP 1 for measurements, on a bare socket: it neither masks (its masking key is
// zero, RFC 6455 5.3) nor copies what arrives, so that the server is what is measured.
//
//   node load.mjs '{"url", "mode", "host", "port", "streams", "ms"?}'
//
// Modes: `download` and `upload` print bytes a second over `ms` milliseconds, `latency` the
// median round trip of single bytes, one after the other, in milliseconds. `idle` opens the
// streams, passes a byte through each, prints a line and stays until its input ends.
import net from "node:net";

const { url, mode, host, port, streams, ms = 3_000 } = JSON.parse(process.argv[2]);
const CONNECT = 1, DATA = 2, CONTINUE = 3, CLOSE = 4;
const WARM_MS = 500;
const PIECE = Buffer.alloc(16 * 1024, 7);
const MOST_QUEUED = 4 << 20;
const MIB = 1 << 20;
const AT_ONCE = 16;

const { hostname, port: at } = new URL(url);
const socket = net.connect({ host: hostname, port: Number(at), noDelay: true });
const fail = (why) => {
  console.error(why);
  process.exit(1);
};
socket.on("error", fail).on("close", () => fail("the server hung up"));

/** A binary frame around a packet (RFC 6455, 5.2). */
function send(type, stream, payload) {
  const length = 5 + payload.length;
  const head = Buffer.alloc((length < 126 ? 2 : 4) + 4 + 5);
  head[0] = 0x82;
  if (length < 126) head[1] = 0x80 | length;
  else {
    head[1] = 0x80 | 126;
    head.writeUInt16BE(length, 2);
  }
  head[head.length - 5] = type;
  head.writeUInt32LE(stream, head.length - 4);
  socket.write(head);
  if (payload.length > 0) socket.write(payload);
}

function open(stream) {
  const payload = Buffer.alloc(3 + host.length);
  payload[0] = 1;
  payload.writeUInt16LE(port, 1);
  payload.write(host, 3);
  send(CONNECT, stream, payload);
}

/** Called with each packet's type, stream, and payload length; small ones with their payload. */
let packet = () => {};

// What is read is one of: the answer to the upgrade, a frame's header with its packet's, the
// rest of a small payload, or the rest of data that nobody looks at.
let rest = Buffer.alloc(0);
let upgraded = false;
let skip = 0;

socket.on("data", (bytes) => {
  if (skip >= bytes.length) {
    skip -= bytes.length;
    return;
  }
  let buffer = skip > 0 ? bytes.subarray(skip) : bytes;
  skip = 0;
  if (rest.length > 0) buffer = Buffer.concat([rest, buffer]);
  let from = 0;
  if (!upgraded) {
    const end = buffer.indexOf("\r\n\r\n");
    if (end < 0) return void (rest = buffer);
    if (!buffer.toString("latin1", 0, 12).includes(" 101")) fail(buffer.toString("latin1", 0, end));
    upgraded = true;
    from = end + 4;
  }
  for (;;) {
    if (buffer.length - from < 2) break;
    const short = buffer[from + 1] & 0x7f;
    const head = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (buffer.length - from < head) break;
    const length = short < 126 ? short : short === 126 ? buffer.readUInt16BE(from + 2) : Number(buffer.readBigUInt64BE(from + 2));
    const opcode = buffer[from] & 0x0f;
    if (opcode === 8) fail("the server closed");
    if (opcode !== 2) {
      if (buffer.length - from < head + length) break;
      from += head + length;
      continue;
    }
    if (buffer.length - from < head + 5) break;
    const body = from + head;
    const type = buffer[body];
    const stream = buffer.readUInt32LE(body + 1);
    if (type !== DATA && buffer.length - from < head + length) break;
    packet(type, stream, length - 5, buffer.subarray(body + 5, body + length));
    from = body + length;
    if (from > buffer.length) {
      skip = from - buffer.length;
      from = buffer.length;
    }
  }
  rest = buffer.subarray(from);
});

socket.write(
  `GET / HTTP/1.1\r\nHost: ${hostname}:${at}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
);
const window = await new Promise((ready) => {
  packet = (type, stream, _, payload) => type === CONTINUE && stream === 0 && ready(payload.readUInt32LE(0));
});

const done = (result) => {
  console.log(JSON.stringify(result));
  process.exit(0);
};
const ids = Array.from({ length: streams }, (_, index) => index + 1);

/** Counts bytes between the end of the warming and that of the measurement. */
function meter(unit) {
  let total = 0;
  setTimeout(() => {
    const before = total;
    const start = performance.now();
    setTimeout(() => done(((total - before) * unit * 1_000) / (performance.now() - start)), ms);
  }, WARM_MS);
  return (amount) => (total += amount);
}

if (mode === "download") {
  const count = meter(1);
  packet = (type, stream, length, payload) => {
    if (type === CLOSE) fail(`stream ${stream} was closed: ${payload[0]}`);
    if (type === DATA) count(length);
  };
  ids.forEach(open);
} else if (mode === "upload") {
  const count = meter(MIB);
  const credit = new Map(ids.map((id) => [id, window]));
  const more = () => {
    for (let sent = true; sent && socket.writableLength < MOST_QUEUED; ) {
      sent = false;
      for (const [id, left] of credit) {
        if (left === 0) continue;
        credit.set(id, left - 1);
        send(DATA, id, PIECE);
        sent = true;
      }
    }
  };
  socket.on("drain", more);
  packet = (type, stream, length, payload) => {
    if (type === CLOSE) fail(`stream ${stream} was closed: ${payload[0]}`);
    if (type === DATA) count(length);
    if (type === CONTINUE) {
      credit.set(stream, payload.readUInt32LE(0));
      more();
    }
  };
  ids.forEach(open);
  more();
} else if (mode === "latency") {
  const trips = [];
  let start;
  const ping = () => {
    start = performance.now();
    send(DATA, 1, Buffer.alloc(1));
  };
  packet = (type) => {
    if (type !== DATA) return;
    trips.push(performance.now() - start);
    ping();
  };
  open(1);
  ping();
  setTimeout(() => done(trips.sort((a, b) => a - b)[trips.length >> 1]), ms);
} else {
  let opened = 0;
  let answered = 0;
  // Some at a time: a relay bounds how many connections it opens at once.
  const next = () => {
    for (; opened < streams && opened - answered < AT_ONCE; ) {
      open(ids[opened]);
      send(DATA, ids[opened++], Buffer.alloc(1));
    }
  };
  packet = (type, stream, _, payload) => {
    if (type === CLOSE) fail(`stream ${stream} was closed: ${payload[0]}`);
    if (type !== DATA) return;
    if (++answered === streams) console.log("idle");
    next();
  };
  next();
  process.stdin.resume().on("end", () => process.exit(0));
}
