// Our gateway and client, in the page, and the servers of others.
import { expect } from "@playwright/test";
import { KERNELS } from "../pages/engines.ts";
import { Guest } from "../pages/network.ts";
import { SERVERS } from "../servers/peers.ts";
import { LARGE_SHA256 } from "../servers/web.ts";
import { FOREIGN, WEB, test } from "../servers/world.ts";

for (const { name: engine } of KERNELS) {
  for (const { name, version, start } of SERVERS) {
    test(`${engine} through ${name}`, async ({ page, world }) => {
      const server = await start();
      try {
        const guest = await Guest.boot(page, engine, server.url);
        expect((await guest.report()).relay).toMatchObject({ version });
        const large = await guest.curl(`${world.web.at(WEB, "large")} -o /tmp/large`, 120_000);
        expect(large).toMatchObject({ status: 200, exit: 0 });
        expect(await guest.run("sha256sum /tmp/large", 60_000)).toContain(LARGE_SHA256);
        await guest.run("head -c 5000000 /dev/urandom > /tmp/up");
        const echo = await guest.curl(`--data-binary @/tmp/up ${world.web.at(WEB, "echo")} -o /tmp/down`, 120_000);
        expect(echo).toMatchObject({ status: 200, exit: 0 });
        expect(await guest.run("cmp /tmp/up /tmp/down && echo same_$((6*7))", 60_000)).toContain("same_42");
        // Without the confirmation of ours, a refusal may come late; it may not stay away.
        for (const place of [`${WEB}:${world.closed}`, `${FOREIGN}:${world.web.port}`]) {
          const refused = await guest.curl(`--max-time 30 http://${place}/`);
          expect([7, 52, 56], refused.text).toContain(refused.exit);
        }
        // The other end goes away in the middle, and nobody hangs.
        const running = guest.curl(`${world.web.at(WEB, "paced")} -o /dev/null`);
        await guest.flow(WEB, 200_000);
        await server.kill();
        expect((await running).exit).toBeGreaterThan(0);
        expect(guest.errors).toEqual([]);
      } finally {
        await server.kill();
      }
    });
  }
}
