// Our relay and the clients of others, in both versions of the protocol.
import { expect } from "@playwright/test";
import { wispJsClient } from "../servers/peers.ts";
import { LARGE, body, sha256 } from "../servers/web.ts";
import { FOREIGN, WEB, test } from "../servers/world.ts";

/** Close reasons of WISP. */
const REASON = { voluntary: 0x02, unreachable: 0x42, refused: 0x44, blocked: 0x48, throttled: 0x49 };

const UPLOAD = 5_000_000;

/** Connections that our relay opens at once for one client: a little below its bound. */
const AT_ONCE = 60;

for (const version of [1, 2]) {
  test.describe(`wisp-js's client, version ${version}`, () => {
    test("downloads and uploads", async ({ world, relay }) => {
      const get = `GET /large HTTP/1.1\r\nHost: ${WEB}\r\nConnection: close\r\n\r\n`;
      const result = await wispJsClient(relay.url, version, [
        { host: WEB, port: world.web.port, text: get },
        { host: WEB, port: world.echo.port, bytes: UPLOAD, until: UPLOAD },
        { host: WEB, port: world.echo.port, bytes: UPLOAD, piece: 60_000, until: UPLOAD },
      ]);
      expect(result).toMatchObject({ version, udp: true });
      const [download, small, large] = result.streams;
      expect(download!.first).toMatch(/^HTTP\/1\.1 200 OK/);
      expect(download!.reason).toBe(REASON.voluntary);
      expect(download!.received).toBeGreaterThan(LARGE);
      const sent = sha256(body(UPLOAD));
      expect([small!.sha256, large!.sha256]).toEqual([sent, sent]);
      // Whatever the client left open is closed with it.
      await expect.poll(() => world.echo.connections).toBe(0);
    });

    test("datagrams, sent before the relay has its socket", async ({ world, relay }) => {
      const stream = { host: WEB, port: world.echo.udpPort, type: "udp", bytes: 1_200, until: 1_200 } as const;
      for (let round = 0; round < 5; round++) {
        const { error, streams } = await wispJsClient(relay.url, version, [stream, stream]);
        expect(error).toBeUndefined();
        expect(new Set(streams.map(({ sha256 }) => sha256))).toEqual(new Set([sha256(body(1_200))]));
      }
    });

    test("many streams at once; too many are throttled, and none is left hanging", async ({ world, relay }) => {
      const sent = sha256(body(50_000));
      const open = async (count: number) => {
        const streams = Array.from({ length: count }, () => ({ host: WEB, port: world.echo.port, bytes: 50_000, until: 50_000 }));
        const { error, streams: results } = await wispJsClient(relay.url, version, streams);
        expect(error).toBeUndefined();
        return results.map(({ reason, sha256 }) => reason ?? sha256);
      };
      expect(new Set(await open(AT_ONCE))).toEqual(new Set([sent]));
      const many = await open(4 * AT_ONCE);
      expect(many.filter((end) => end === sent).length).toBeGreaterThanOrEqual(AT_ONCE);
      expect(new Set(many)).toEqual(new Set([sent, REASON.throttled]));
    });

    test("what cannot be had is refused with its reason", async ({ world, relay }) => {
      const { port } = world.web;
      const wanted = [
        [WEB, world.closed, REASON.refused],
        [FOREIGN, port, REASON.blocked],
        [WEB, 25, REASON.blocked],
        ["mixed.vivarium.test", port, REASON.blocked],
        ["private.vivarium.test", port, REASON.blocked],
        ["missing.vivarium.test", port, REASON.unreachable],
        // By address a list of names would mean nothing.
        ["127.0.0.1", port, REASON.blocked],
        ["2130706433", port, undefined],
        ["localhost", port, undefined],
      ] as const;
      const seen = world.web.accepted;
      const result = await wispJsClient(relay.url, version, wanted.map(([host, port]) => ({ host, port })));
      for (const [index, [host, port, reason]] of wanted.entries()) {
        const found = result.streams[index]!;
        if (reason === undefined) expect(found.reason, `${host}:${port}`).toBeGreaterThan(REASON.voluntary);
        else expect(found.reason, `${host}:${port}`).toBe(reason);
        expect(found.received).toBe(0);
      }
      expect(world.web.accepted).toBe(seen);
    });
  });
}

test("a client that is killed leaves nothing behind, and the relay ends in good order", async ({ world, relay }) => {
  const streams = Array.from({ length: 20 }, () => ({ host: WEB, port: world.echo.port, bytes: 1_000, until: 1_000 }));
  for (let round = 0; round < 5; round++) await wispJsClient(relay.url, 2, streams);
  await expect.poll(() => world.echo.connections).toBe(0);
  expect(await relay.stop()).toBe(0);
});
