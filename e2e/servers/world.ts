// All that a guest's network can reach in a test, and a relay on the way to it. Everything
// is on loopback; the relay is told by flags that the tests may go there.
import { test as base } from "@playwright/test";
import { authority, type Authority } from "./authority.ts";
import { Dns, ZONE } from "./dns.ts";
import { Echo, closedPort } from "./echo.ts";
import { files, type Files } from "./files.ts";
import { python } from "./python.ts";
import { Relay } from "./relay.ts";
import { Web } from "./web.ts";

/** The usual name of the servers; every other name of the zone but dns.ts's leads there too. */
export const WEB = `web.${ZONE}`;
/** Reachable, were it not for a policy. */
export const DENIED = `denied.${ZONE}`;
/** Not of the zone that the relay lets through. */
export const FOREIGN = "foreign.example.test";

export class World {
  private constructor(
    readonly authority: Authority,
    readonly files: Files,
    readonly dns: Dns,
    readonly web: Web,
    readonly secure: Web,
    readonly echo: Echo,
    /** Nobody listens there, and the relay lets it through. */
    readonly closed: number,
  ) {}

  static async start(): Promise<World> {
    const trusted = authority();
    const made = files(python());
    const { folder } = made;
    return new World(
      trusted,
      made,
      await Dns.start(),
      await Web.start({ folder }),
      await Web.start({ folder, authority: trusted }),
      await Echo.start(),
      await closedPort(),
    );
  }

  /** Flags of a relay that lets the zone through, by name; with `literal` also loopback by address. */
  flags(literal = false): string[] {
    const ports = [this.web.port, this.secure.port, this.echo.port, this.echo.udpPort, this.closed];
    return [
      ...["--allow-cidr", "127.0.0.0/8", "--nameserver", this.dns.address],
      ...(literal ? [] : ["--allow-host", ZONE]),
      ...ports.flatMap((port) => ["--allow-port", `${port}`]),
    ];
  }

  async stop(): Promise<void> {
    await Promise.all([this.dns.stop(), this.web.stop(), this.secure.stop(), this.echo.stop()]);
    this.files.remove();
  }
}

/** Tests with a world of their own, and a relay for each. */
export const test = base.extend<{ relay: Relay }, { world: World }>({
  world: [
    async ({}, use) => {
      const world = await World.start();
      await use(world);
      await world.stop();
    },
    // The first time, the foreign server's packages are fetched.
    { scope: "worker", timeout: 300_000 },
  ],
  relay: async ({ world }, use) => {
    const relay = await Relay.start(world.flags());
    await use(relay);
    await relay.kill();
  },
});
