// `cargo xtask bench`: saving and coming back, for a small and a large machine of each engine.
// Prints a table and writes e2e/results/bench-saving.json.
import { test } from "@playwright/test";
import { KERNELS } from "../pages/engines.ts";
import { Machine } from "../pages/machine.ts";
import { RUNS, Table, answered, expectOk, machine, publish, withPage } from "./measure.ts";

/** A fixed piece of work: files are written, programs run. */
const WORK = "cp -r /etc /tmp/work; for i in 1 2 3 4 5 6 7 8; do ls -lR /etc /bin > /tmp/list$i; done";

/** A session: what a person may have tried by then. The small flavour has less to try. */
const SESSION = {
  busybox: `for i in 1 2 3; do ${WORK}; done; find / -xdev > /tmp/found; sort /tmp/found | sha256sum`,
  full:
    "python3 -c 'import json, ssl, asyncio; print(sum(i * i for i in range(100000)))'; cd /tmp && git init -q work2; " +
    "cp -r /etc work2 2>/dev/null; cd work2 && git add . && git -c user.name=a -c user.email=a@a commit -qm a; openssl genrsa 1024 > key; cd",
};

test("saving", async ({ browser }) => {
  const table = new Table();
  const about = machine(browser.version());
  for (const [flavour, memory] of [["busybox", 128], ["full", 256]] as const) {
    for (let run = 0; run < RUNS; run++) {
      for (const { name: engine } of KERNELS) {
        const put = (name: string, unit: string, value: number) =>
          table.put(`${engine} ${flavour}, ${memory} MiB: ${name}`, unit, value);
        await withPage(browser, async (machine, context) => {
          await machine.page.addInitScript(() => localStorage.setItem("vivarium.preferences", '{"autosave":false}'));
          await machine.open();
          expectOk(await machine.boot({ engine, flavour, memory, start: "cold" }));
          const save = async (name: string, size: "bytes" | "deltaBytes", of = machine) => {
            const saved = await of.save();
            put(`${name}: time`, "ms", saved.tookMs);
            put(`${name}: the guest stands still`, "ms", saved.pauseMs);
            put(`${name}: stored`, "MB", saved[size] / 1e6);
          };
          await save("first save", "bytes");
          await machine.run(WORK);
          await save("save after work", "deltaBytes");
          await machine.page.waitForTimeout(1_000);
          await save("save after an idle second", "deltaBytes");
          if (run === 0) {
            await machine.page.waitForTimeout(60_000);
            await save("save after an idle minute", "deltaBytes");
          }
          const again = new Machine(await context.newPage());
          await machine.page.close();
          const opened = performance.now();
          await again.open();
          const options = { engine, flavour, memory, start: "head" } as const;
          put("restore: from the call to an answered key", "ms", await answered(again, options));
          put("restore: from opening the page to an answered key", "ms", performance.now() - opened);
          // The key is still on the line.
          await again.write("\x15");
          await again.run(SESSION[flavour], 300_000);
          await save("save after a session", "bytes", again);
        });
      }
    }
  }
  publish("saving", about, table);
});
