// Bare TCP and UDP on loopback for clients that speak WISP without a guest: an echo, and a
// port where nobody listens.
import dgram from "node:dgram";
import net, { type AddressInfo } from "node:net";

export class Echo {
  private readonly open = new Set<net.Socket>();

  private constructor(
    private readonly tcp: net.Server,
    private readonly udp: dgram.Socket,
  ) {}

  static async start(): Promise<Echo> {
    const tcp = net.createServer({ allowHalfOpen: true });
    const udp = dgram.createSocket("udp4");
    const echo = new Echo(tcp, udp);
    tcp.on("connection", (socket) => {
      echo.open.add(socket);
      socket.on("error", () => {}).once("close", () => echo.open.delete(socket));
      socket.pipe(socket);
    });
    udp.on("message", (message, from) => udp.send(message, from.port, from.address));
    await new Promise<void>((listening) => tcp.listen(0, "127.0.0.1", listening));
    await new Promise<void>((bound) => udp.bind(0, "127.0.0.1", bound));
    return echo;
  }

  get port(): number {
    return (this.tcp.address() as AddressInfo).port;
  }

  get udpPort(): number {
    return this.udp.address().port;
  }

  get connections(): number {
    return this.open.size;
  }

  async stop(): Promise<void> {
    this.udp.close();
    for (const socket of this.open) socket.destroy();
    await new Promise((closed) => this.tcp.close(closed));
  }
}

/** A port of loopback that was free a moment ago. */
export async function closedPort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}
