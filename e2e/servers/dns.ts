// A name server for `vivarium.test`, on loopback, over UDP (RFC 1035): enough of it that a
// resolver believes it, and names that behave as an attacker's would.
import dgram from "node:dgram";

export const ZONE = "vivarium.test";

/** A private address that no policy of the tests allows; nothing is ever sent to it. */
const PRIVATE = "10.66.66.66";

const A = 1;
const NAME_ERROR = 3;
/** Flags of an answer: QR and AA (section 4.1.1). */
const ANSWER = 0x8400;
/** A pointer to the question's name, right behind the header (section 4.1.4). */
const QUESTION_NAME = 0xc00c;

export class Dns {
  /** Names that were asked for an address, in order. */
  readonly asked: string[] = [];

  private constructor(private readonly socket: dgram.Socket) {}

  static async start(): Promise<Dns> {
    const socket = dgram.createSocket("udp4");
    const dns = new Dns(socket);
    socket.on("message", (query, from) => {
      const answer = dns.answer(query);
      if (answer) socket.send(answer, from.port, from.address);
    });
    await new Promise<void>((bound) => socket.bind(0, "127.0.0.1", bound));
    return dns;
  }

  /** `IP:PORT`, as the relay's `--nameserver` takes it. */
  get address(): string {
    return `127.0.0.1:${this.socket.address().port}`;
  }

  /** From here on a name's first answer is its first again. */
  forget(name: string): void {
    this.asked.splice(0, this.asked.length, ...this.asked.filter((other) => other !== name));
  }

  stop(): Promise<void> {
    return new Promise((closed) => this.socket.close(() => closed()));
  }

  /** Addresses of a name; none for a name that exists without any, undefined for no name. */
  private addresses(name: string): string[] | undefined {
    if (!name.endsWith(`.${ZONE}`) || name === `missing.${ZONE}`) return undefined;
    const times = this.asked.filter((other) => other === name).length;
    switch (name.slice(0, -ZONE.length - 1)) {
      case "private":
        return [PRIVATE];
      // One address that may be reached and one that may not: the whole name is denied.
      case "mixed":
        return ["127.0.0.1", PRIVATE];
      // The first answer may be reached, all later ones not (DNS rebinding).
      case "changing":
        return times > 1 ? [PRIVATE] : ["127.0.0.1"];
      default:
        return ["127.0.0.1"];
    }
  }

  private answer(query: Buffer): Buffer | undefined {
    const question = parse(query);
    if (!question) return undefined;
    const { name, type, end } = question;
    if (type === A) this.asked.push(name);
    const found = this.addresses(name);
    const records = type === A ? (found ?? []) : [];
    const header = Buffer.alloc(12);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(ANSWER | (query.readUInt16BE(2) & 0x0100) | (found ? 0 : NAME_ERROR), 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(records.length, 6);
    return Buffer.concat([header, query.subarray(12, end), ...records.map(record)]);
  }
}

/** The one question of a query, and where it ends. */
function parse(query: Buffer): { name: string; type: number; end: number } | undefined {
  if (query.length < 12 || query.readUInt16BE(4) !== 1) return undefined;
  const labels: string[] = [];
  let at = 12;
  for (;;) {
    const length = query[at];
    if (length === undefined || length > 63) return undefined;
    at += 1 + length;
    if (length === 0) break;
    labels.push(query.subarray(at - length, at).toString("latin1").toLowerCase());
  }
  if (query.length < at + 4) return undefined;
  return { name: labels.join("."), type: query.readUInt16BE(at), end: at + 4 };
}

function record(address: string): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16BE(QUESTION_NAME, 0);
  bytes.writeUInt16BE(A, 2);
  bytes.writeUInt16BE(1, 4); // class IN
  bytes.writeUInt32BE(0, 6); // time to live: each stream asks again
  bytes.writeUInt16BE(4, 10);
  Buffer.from(address.split(".").map(Number)).copy(bytes, 12);
  return bytes;
}
