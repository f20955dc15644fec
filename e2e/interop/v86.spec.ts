// Our relay and v86's own WISP client: version 1, by address, TCP only.
import { expect } from "@playwright/test";
import { Plain } from "../servers/plain.ts";
import { Relay } from "../servers/relay.ts";
import { LARGE_SHA256 } from "../servers/web.ts";
import { test } from "../servers/world.ts";

test("v86's own client downloads and uploads through our relay", async ({ page, world }) => {
  const relay = await Relay.start(world.flags(true));
  const plain = await Plain.boot(page, relay.url);
  try {
    const base = `http://127.0.0.1:${world.web.port}`;
    expect((await plain.run(`wget -q -O - ${base}/large | sha256sum`)).output).toContain(LARGE_SHA256);
    await plain.run("tr -d '\\0' < /dev/urandom | head -c 2000000 > /tmp/up");
    expect(await plain.run(`wget -q --post-file=/tmp/up -O /tmp/down ${base}/echo`)).toMatchObject({ status: 0 });
    expect(await plain.run("cmp /tmp/up /tmp/down")).toMatchObject({ status: 0 });
    // It opens a stream for each connection; all of them end.
    for (let round = 0; round < 5; round++) expect(await plain.run(`wget -q -O - ${base}/status`)).toMatchObject({ status: 0 });
    await expect.poll(() => world.web.connections, { timeout: 30_000 }).toBe(0);
  } finally {
    await plain.stop();
    await relay.kill();
  }
});
