// What must not happen to a saved machine, tried with injected faults.
import { chromium, expect, test, type BrowserContext, type Page } from "@playwright/test";
import crypto from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import zlib from "node:zlib";
import { eachKernel } from "../pages/engines.ts";
import { Machine, url } from "../pages/machine.ts";
import { HEADER, forged } from "../servers/container.ts";
import config from "../playwright.config.ts";

const corpus = path.resolve(import.meta.dirname, "../../emulator/snapshot/corpus");

/** Kills of the browser; the long test has a hundred. */
const KILLS = Number(process.env.VIVARIUM_KILLS ?? 3);

type Damage = "flip" | "cut" | "ruin" | "remove" | "swap";

/** Damages what the browser has stored, behind the page's back; returns how many values. */
async function tamper(page: Page, store: string, damage: Damage, only?: string[]): Promise<number> {
  return page.evaluate(
    ([store, damage, only]) =>
      new Promise<number>((resolve, reject) => {
        const open = indexedDB.open("vivarium");
        open.onerror = () => reject(open.error);
        open.onsuccess = () => {
          const database = open.result;
          const transaction = database.transaction(store, "readwrite");
          const objects = transaction.objectStore(store);
          let changed = 0;
          let before: unknown;
          objects.openCursor().onsuccess = (event) => {
            const cursor = (event.target as IDBRequest<IDBCursorWithValue | null>).result;
            if (!cursor) return;
            if (!only || only.includes(`${cursor.key}`)) {
              changed++;
              if (damage === "remove") cursor.delete();
              else if (damage === "swap") {
                // Each gets the value of the one before it; the first keeps its own.
                const value = cursor.value as unknown;
                if (before) cursor.update(before);
                before = value;
              } else {
                const bytes = (cursor.value as Uint8Array<ArrayBuffer>).slice();
                bytes[bytes.length >> 1]! ^= 1;
                cursor.update(damage === "flip" ? bytes : bytes.slice(0, damage === "cut" ? -1 : 10));
              }
            }
            cursor.continue();
          };
          transaction.oncomplete = () => {
            database.close();
            resolve(changed);
          };
          transaction.onabort = () => reject(transaction.error);
        };
      }),
    [store, damage, only] as const,
  );
}

/** Process numbers of the browsers of a profile, without those of their helpers. */
function browsers(profile: string): number[] {
  const isOne = (entry: string): boolean => {
    try {
      const words = fs.readFileSync(`/proc/${entry}/cmdline`, "utf8").split("\0");
      return words.includes(`--user-data-dir=${profile}`) && !words.some((word) => word.startsWith("--type="));
    } catch {
      return false;
    }
  };
  return fs.readdirSync("/proc").filter((entry) => /^\d+$/.test(entry) && isOne(entry)).map(Number);
}

function keys(page: Page): Promise<string[]> {
  return page.evaluate(
    () =>
      new Promise((resolve) => {
        const open = indexedDB.open("vivarium");
        open.onsuccess = () => {
          const request = open.result.transaction("chunks").objectStore("chunks").getAllKeys();
          request.onsuccess = () => {
            open.result.close();
            resolve(request.result as string[]);
          };
        };
      }),
  );
}

/** Imports a file; with the snapshot's id, or the code of why not. */
function take(page: Page, file: Buffer): Promise<{ id?: string; error?: string }> {
  return page.evaluate((text) => {
    const file = new Blob([Uint8Array.from(atob(text), (char) => char.charCodeAt(0))]);
    return window.vivarium.snapshots.import(file).then(({ id }) => ({ id }), (error) => ({ error: `${error.code}` }));
  }, file.toString("base64")) as never;
}

/** Exports a snapshot. */
async function give(page: Page, id: string): Promise<Buffer> {
  const address = await page.evaluate(async (id) => {
    const file = await window.vivarium.snapshots.export(id);
    return new Promise<string>((resolve) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result as string);
      reader.readAsDataURL(file);
    });
  }, id);
  return Buffer.from(address.slice(address.indexOf(",") + 1), "base64");
}

/** Changes each byte of a stored manifest in turn; with what checking it ends in every time. */
function flipEach(page: Page, id: string): Promise<string[]> {
  return page.evaluate(async (id) => {
    const database = await new Promise<IDBDatabase>((resolve) => {
      const open = indexedDB.open("vivarium");
      open.onsuccess = () => resolve(open.result);
    });
    const store = (mode: IDBTransactionMode) => database.transaction("snapshots", mode).objectStore("snapshots");
    const done = <T>(request: IDBRequest<T>) => new Promise<T>((resolve) => (request.onsuccess = () => resolve(request.result)));
    const entry = (await done(store("readonly").get(id))) as { manifest: Uint8Array };
    const whole = entry.manifest;
    const ends: string[] = [];
    for (let at = 0; at < whole.length; at++) {
      const manifest = whole.slice();
      manifest[at]! ^= 1 << (at % 8);
      await done(store("readwrite").put({ ...entry, manifest }, id));
      ends.push(await window.vivarium.snapshots.verify(id).then(() => "ok", (error) => `${error.code}`));
    }
    await done(store("readwrite").put(entry, id));
    database.close();
    return ends;
  }, id);
}

/** Keeps the database from being opened by anybody; returns what ends that. */
async function block(page: Page): Promise<() => Promise<void>> {
  await page.evaluate(
    () =>
      new Promise<void>((resolve, reject) => {
        const open = indexedDB.open("vivarium");
        open.onerror = () => reject(open.error);
        open.onsuccess = () => {
          // Whoever comes now waits for the upgrade, and the upgrade for this connection.
          const upgrade = indexedDB.open("vivarium", open.result.version + 1);
          upgrade.onblocked = () => resolve();
          upgrade.onupgradeneeded = () => upgrade.transaction!.abort();
          Object.assign(window, { unblock: () => open.result.close() });
        };
      }),
  );
  return () => page.evaluate(() => (window as never as { unblock: () => void }).unblock());
}

eachKernel((kernel) => {
  const SMALL = { engine: kernel.name, flavour: "busybox", memory: kernel.memory.small };

  async function small(page: Page): Promise<Machine> {
    // What is saved, and when, is the test's to say.
    await page.addInitScript(() => localStorage.setItem("vivarium.preferences", JSON.stringify({ autosave: false })));
    const machine = await new Machine(page).open();
    expect(await machine.boot(SMALL)).toEqual({ ok: true });
    return machine;
  }

  test("the browser killed in the middle of a save: the last save stands", async () => {
    test.setTimeout(60_000 + KILLS * 60_000);
    const profile = fs.mkdtempSync(path.join(os.tmpdir(), "vivarium-kill-"));
    const launch = async (): Promise<{ context: BrowserContext; page: Page; pid: number }> => {
      const context = await chromium.launchPersistentContext(profile, {
        ...config.use!.launchOptions,
        viewport: { width: 1000, height: 700 },
      });
      const pid = browsers(profile)[0]!;
      return { context, page: context.pages()[0] ?? (await context.newPage()), pid };
    };
    let acknowledged = 0;
    let span = 0;
    const found = { acknowledged: 0, underWay: 0 };
    for (let round = 0; round <= KILLS; round++) {
      const { context, page, pid } = await launch();
      const machine = await small(page);
      const said = await machine.run("echo n=$((n))");
      const n = Number(/^n=(\d+)$/m.exec(said)?.[1] ?? Number.NaN);
      // Either the last acknowledged save, or the one that was under way when the end came.
      const seen = `round ${round}: ${said}\n${await machine.text()}\n${await page.getByTestId("notices").textContent()}`;
      expect([acknowledged, acknowledged + 1], seen).toContain(n);
      found[n === acknowledged ? "acknowledged" : "underWay"]++;
      if (round % 10 === 0 || round === KILLS) {
        console.log(`${round} kills: ${found.acknowledged} times the acknowledged save, ${found.underWay} times the one under way`);
      }
      if (round === KILLS) {
        await context.close();
        break;
      }
      const next = n + 1;
      acknowledged = n;
      await machine.run(`n=${next}; dd if=/dev/urandom of=/tmp/noise bs=1M count=8 2>/dev/null`);
      const start = Date.now();
      const save = machine.save().then(
        () => {
          acknowledged = next;
          span = Date.now() - start;
        },
        () => {},
      );
      // From before its beginning to a little after its end.
      if (round === 0) await save;
      else await new Promise((done) => setTimeout(done, Math.random() * 1.3 * span));
      process.kill(pid, "SIGKILL");
      await Promise.race([save, new Promise((done) => setTimeout(done, 1_000))]);
      await context.close().catch(() => {});
      await expect.poll(() => browsers(profile), { timeout: 30_000 }).toEqual([]);
      // The lock names a process; another one may have its number by now, and would be asked.
      for (const name of fs.readdirSync(profile).filter((name) => name.startsWith("Singleton"))) fs.rmSync(path.join(profile, name));
    }
    fs.rmSync(profile, { recursive: true, force: true });
  });

  test("the tab crashed in the middle of a save: the last save stands", async ({ page, context }) => {
    const machine = await small(page);
    await machine.run("n=1");
    await machine.save();
    // Enough for the save to take its time.
    await machine.run("n=2; dd if=/dev/urandom of=/tmp/noise bs=1M count=24 2>/dev/null");
    const session = await context.newCDPSession(page);
    let ended = false;
    const save = machine.save().catch(() => undefined).then(() => (ended = true));
    // Looked for at each frame: what the page says of a save that is under way.
    await page.waitForFunction(() => document.querySelector("[data-testid=kept]")?.getAttribute("data-kept") === "saving");
    expect(ended).toBe(false);
    const crash = page.waitForEvent("crash");
    // Nobody is left to answer.
    session.send("Page.crash").catch(() => {});
    await crash;
    void save;
    const again = await small(await context.newPage());
    expect(await again.run("echo n=$n")).toMatch(/n=[12]/);
  });

  test("a full disk is told, loses nothing, and heals", async ({ page, context }) => {
    const session = await context.newCDPSession(page);
    const origin = new URL(url()).origin;
    // Before anything is stored: Chromium remembers for half a minute how much room there is.
    await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 20e6 });
    const machine = await small(page);
    await machine.run("n=1");
    const first = await machine.save();
    await machine.run("n=2; dd if=/dev/urandom of=/tmp/noise bs=1M count=24 2>/dev/null");
    expect(await machine.attempt("save", {})).toBe("storage-full");
    await expect(page.getByTestId("notices")).toContainText("no room");
    expect((await machine.list()).find((snapshot) => snapshot.isHead)?.id).toBe(first.id);
    expect(await machine.run("echo still $((6*7))")).toContain("still 42");
    // What the failed one has left behind is swept when there is no room the next time.
    await machine.run("rm /tmp/noise; echo 3 > /proc/sys/vm/drop_caches; tr '\\0' x < /dev/zero | head -c 26000000 > /tmp/x; rm /tmp/x");
    expect(await machine.attempt("save", {})).toBe("ok");
    await session.send("Storage.overrideQuotaForOrigin", { origin });
    expect(await machine.attempt("save", {})).toBe("ok");
  });

  test("a storage that is cleared before the first save of a session is written anew", async ({ page, context }) => {
    let machine = await small(page);
    await machine.run("n=$((6*7))");
    await machine.save();
    machine = await new Machine(page).open();
    expect(await machine.boot(SMALL)).toEqual({ ok: true });
    const session = await context.newCDPSession(page);
    await session.send("Storage.clearDataForOrigin", { origin: new URL(url()).origin, storageTypes: "indexeddb" });
    const anew = await machine.save();
    expect(await machine.list()).toMatchObject([{ id: anew.id, isHead: true }]);
    expect(await machine.attempt("verify", anew.id)).toBe("ok");
    expect(await machine.run("echo still $n")).toContain("still 42");
  });

  test("a storage that is cleared under a running machine is written anew", async ({ page, context }) => {
    const machine = await small(page);
    await machine.run("n=$((6*7))");
    await machine.save();
    const cleared = await tamper(page, "chunks", "remove");
    expect(cleared).toBeGreaterThan(5);
    await tamper(page, "sizes", "remove");
    const saved = await machine.save();
    expect(await machine.attempt("verify", saved.id)).toBe("ok");
    const session = await context.newCDPSession(page);
    await session.send("Storage.clearDataForOrigin", { origin: new URL(url()).origin, storageTypes: "indexeddb" });
    // The database itself is gone now; the machine is not, and is saved into a new one.
    expect(await machine.run("echo still $n")).toContain("still 42");
    const anew = await machine.save();
    expect(await machine.list()).toMatchObject([{ id: anew.id, isHead: true }]);
    expect(await machine.attempt("verify", anew.id)).toBe("ok");
  });

  for (const [what, damage] of [["flipped", "flip"], ["truncated", "cut"], ["swapped", "swap"], ["missing", "remove"]] as const) {
    test(`chunks that are ${what} are refused in words, never run`, async ({ page }) => {
      let machine = await small(page);
      const saved = await machine.save();
      machine = await new Machine(page).open();
      expect(await tamper(page, "chunks", damage)).toBeGreaterThan(5);
      expect(await machine.attempt("verify", saved.id)).toBe("snapshot-damaged");
      expect(await machine.boot(SMALL)).toMatchObject({ ok: false, code: "snapshot-damaged" });
      await expect(page.getByRole("alert")).toContainText("damaged");
      await page.getByTestId("fault-restart").click();
      await machine.waitForState("running");
      await machine.expectRealKernel();
    });
  }

  test("a damaged save falls back to the one before, and says which", async ({ page }) => {
    let machine = await small(page);
    await machine.run("n=1");
    await machine.save();
    const before = new Set(await keys(page));
    await machine.run("n=2; dd if=/dev/urandom of=/tmp/noise bs=1M count=2 2>/dev/null");
    await machine.save();
    const fresh = (await keys(page)).filter((key) => !before.has(key));
    expect(fresh.length).toBeGreaterThan(0);
    machine = await new Machine(page).open();
    expect(await tamper(page, "chunks", "ruin", fresh)).toBe(fresh.length);
    expect(await machine.boot(SMALL)).toEqual({ ok: true });
    expect(await machine.run("echo n=$n")).toContain("n=1");
    await expect(page.getByTestId("notices")).toContainText("damaged");
  });

  test("files that are no snapshot, too new, cut, or claim gigabytes are refused whole", async ({ page }) => {
    const machine = await small(page);
    await machine.save();
    const before = await machine.list();
    const hostile = path.join(corpus, "hostile");
    const start = fs.readFileSync(path.join(corpus, "good/small.vivarium")).subarray(0, 12);
    // A file is its magic number and version, then a manifest with its length, then chunks.
    const file = (name: string) => {
      const bytes = fs.readFileSync(path.join(hostile, name));
      const length = Buffer.alloc(4);
      length.writeUInt32LE(bytes.length);
      return name.endsWith(".manifest") ? Buffer.concat([start, length, bytes]) : bytes;
    };
    const files = fs.readdirSync(hostile);
    for (const kind of [".vivarium", ".manifest", "10-gb-memory.manifest"]) {
      expect(files.filter((name) => name.endsWith(kind)).length, kind).toBeGreaterThan(0);
    }
    for (const name of files) {
      const { error } = await take(page, zlib.gzipSync(file(name)));
      expect(["snapshot-damaged", "snapshot-refused"], name).toContain(error);
    }
    for (const garbage of [Buffer.from("not a snapshot at all"), crypto.randomBytes(100_000)]) {
      expect(await take(page, garbage)).toEqual({ error: "snapshot-refused" });
      expect(await take(page, zlib.gzipSync(garbage))).toEqual({ error: "snapshot-refused" });
    }
    expect(await machine.list()).toEqual(before);
  });

  test("a manifest with any of its bytes changed is refused", async ({ page }) => {
    const machine = await small(page);
    const id = (await take(page, zlib.gzipSync(fs.readFileSync(path.join(corpus, "good/small.vivarium"))))).id!;
    expect(await machine.attempt("verify", id)).toBe("ok");
    const refused = await flipEach(page, id);
    expect(refused.length).toBe(fs.statSync(path.join(corpus, "good/small.manifest")).size);
    expect([...new Set(refused)]).toEqual(["snapshot-damaged"]);
    // What runs has not noticed, and no worker has ended.
    expect(await machine.attempt("verify", id)).toBe("ok");
    expect(await machine.run("echo works $((6*7))")).toContain("works 42");
    expect(machine.errors).toEqual([]);
  });

  test("snapshots of a newer version, another engine, another image are refused in words, and kept", async ({ page }) => {
    const machine = await small(page);
    await machine.run("n=$((6*7))");
    const saved = await machine.save("of this image");
    const file = await give(page, saved.id);
    const newer = forged(file, HEADER.version, Buffer.from([2]));
    expect(await take(page, newer)).toEqual({ error: "snapshot-refused" });
    for (const [what, at, value] of [
      ["engine", HEADER.engine, Buffer.from("other".padEnd(16, "\0"))],
      ["state of the engine", HEADER.engineState, Buffer.from([99])],
      ["image", HEADER.image, Buffer.alloc(32, 1)],
    ] as const) {
      const id = (await take(page, forged(file, at, value))).id!;
      expect(await machine.attempt("verify", id), what).toBe("ok");
      expect(await machine.attempt("restore", id), what).toBe("snapshot-refused");
      expect((await machine.list()).map((snapshot) => snapshot.id), what).toContain(id);
      expect(await machine.attempt("restore", saved.id), what).toBe("ok");
      expect(await machine.run("echo n=$n"), what).toContain("n=42");
    }
  });

  test("a browser that keeps nothing runs the machine and says so", async ({ page }) => {
    await page.goto(`${url()}?autoboot=0`);
    // A database of a newer version than ours cannot be opened.
    await page.evaluate(
      () =>
        new Promise<void>((resolve, reject) => {
          const open = indexedDB.open("vivarium", 999);
          open.onsuccess = () => (open.result.close(), resolve());
          open.onerror = () => reject(open.error);
        }),
    );
    const machine = await new Machine(page).open();
    expect(await machine.boot(SMALL)).toEqual({ ok: true });
    expect(await machine.run("echo works $((6*7))")).toContain("works 42");
    await expect(page.getByTestId("notices")).toContainText("cannot be saved");
    expect(await machine.attempt("save", {})).toBe("storage-unavailable");
  });

  /** A saved machine whose storage does not open, to where the page tells it. */
  async function unreadable(page: Page): Promise<{ machine: Machine; unblock: () => Promise<void> }> {
    let machine = await small(page);
    await machine.run("n=$((6*7))");
    await machine.save();
    machine = await new Machine(page).open();
    const unblock = await block(page);
    const boot = machine.boot(SMALL);
    await expect(page.getByTestId("status")).toContainText("Waiting for the browser's storage", { timeout: 30_000 });
    expect(await boot).toMatchObject({ ok: false, code: "storage-unavailable" });
    await expect(page.getByTestId("fault")).toContainText("could not be read");
    return { machine, unblock };
  }

  // Most of it is waiting for a storage that does not answer: two browsers' at the same time.
  test("a saved machine whose storage does not open is not begun anew: a person tries again, or starts without", async ({ browser, page }) => {
    const other = await (await browser.newContext()).newPage();
    const [retried, unsaved] = await Promise.all([unreadable(page), unreadable(other)]);
    await retried.unblock();
    await page.getByTestId("retry").click();
    await retried.machine.waitForState("running");
    expect(await retried.machine.run("echo n=$n")).toContain("n=42");

    await other.getByTestId("start-unsaved").click();
    await unsaved.machine.waitForState("running");
    expect(await unsaved.machine.run("echo n=$n.")).toContain("n=.");
    await unsaved.unblock();
    expect(await unsaved.machine.boot(SMALL)).toEqual({ ok: true });
    expect(await unsaved.machine.run("echo n=$n")).toContain("n=42");
    await other.context().close();
  });
});
