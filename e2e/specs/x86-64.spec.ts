// What only our own engine can do.
import { expect, test } from "@playwright/test";
import { Machine } from "../pages/machine.ts";

const SMALL = { engine: "x86-64", flavour: "busybox", memory: 64 } as const;

test("64 MiB are enough, and 32-bit programs run on the 64-bit kernel", async ({ page }) => {
  const machine = await new Machine(page).open();
  expect(await machine.boot(SMALL)).toEqual({ ok: true });
  expect(await machine.run("uname -m")).toContain("x86_64");
  // It counts primes in a program of another architecture; nobody prints that by accident.
  expect(await machine.run("/usr/lib/vivarium/hello32")).toContain("1229 primes");
});

test("2 GiB are there, and a machine of them is saved and comes back", async ({ page }) => {
  await page.addInitScript(() => localStorage.setItem("vivarium.preferences", '{"autosave":false}'));
  const large = { ...SMALL, memory: 2048 };
  let machine = await new Machine(page).open();
  expect(await machine.boot(large)).toEqual({ ok: true });
  const total = Number((await machine.run("grep MemTotal /proc/meminfo")).match(/(\d+) kB/)?.[1]);
  expect(total).toBeGreaterThan(1_900_000);
  // Linux gives memory away from its end.
  const fill = "head -c 1M /dev/urandom > /tmp/a; for i in 1 2 3 4 5 6 7 8 9; do cat /tmp/a; done > /tmp/b; md5sum < /tmp/b";
  const sum = (await machine.run(fill)).match(/[0-9a-f]{32}/)?.[0];
  expect(sum).toBeDefined();
  await machine.save();
  machine = await new Machine(page).open();
  expect(await machine.boot(large)).toEqual({ ok: true });
  expect(await machine.run("md5sum < /tmp/b")).toContain(sum!);
});

test("a guest that waits costs no processor", async ({ page }) => {
  const machine = await new Machine(page).open();
  expect(await machine.boot(SMALL)).toEqual({ ok: true });
  await machine.run("true");
  const counted = () => page.evaluate(() => window.vivarium.stats().instructions ?? Number.NaN);
  // Reports come once a second; the second of two pairs has no work of the prompt in it.
  await page.waitForTimeout(3_000);
  const before = await counted();
  await page.waitForTimeout(4_000);
  expect((await counted()) - before).toBeLessThan(4_000_000);
});

test("integers, floating point and hashes are those of every other x86-64", async ({ page }) => {
  const machine = await new Machine(page).open();
  expect(await machine.boot({ engine: "x86-64", flavour: "full", memory: 256 })).toEqual({ ok: true });
  const python = (code: string) => machine.run(`python3 -c '${code}'`, 60_000);
  expect(await python("print(2**200 % 1000003, 7**-2, (0.1+0.2).hex())")).toContain(
    `${2n ** 200n % 1000003n} 0.02040816326530612 0x1.3333333333334p-2`,
  );
  expect(await machine.run("echo hello | sha256sum")).toContain("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
});
