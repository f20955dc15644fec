// A machine that is simply there again.
import { expect, test, type Page } from "@playwright/test";
import { eachKernel } from "../pages/engines.ts";
import { BOOT_TIMEOUT, Machine } from "../pages/machine.ts";

eachKernel((kernel) => {
  /** Small and quick: what is said here of saving holds for every machine. */
  const SMALL = { engine: kernel.name, flavour: "busybox", memory: kernel.memory.small };

  async function small(page: Page, autosave = false): Promise<Machine> {
    const kept = JSON.stringify({ autosave });
    await page.addInitScript((kept) => localStorage.setItem("vivarium.preferences", kept), kept);
    const machine = await new Machine(page).open();
    expect(await machine.boot(SMALL)).toEqual({ ok: true });
    return machine;
  }

  test("a machine goes on where it was: files, variables, processes, screen, clock, size", async ({ page }) => {
    let machine = await small(page);
    await machine.run("answer=$((6*7)); echo kept > /tmp/file; (while :; do sleep 1; echo tick >> /tmp/ticks; done) &");
    await machine.run("echo SCREEN_$((40+2))");
    const saved = await machine.save();
    expect(saved.isHead).toBe(true);
    expect(saved.bytes).toBeLessThan(12e6);
    // Long enough for the clock to be visibly wrong, if nobody sets it.
    await page.waitForTimeout(3_000);
    await page.setViewportSize({ width: 1000, height: 700 });
    machine = await new Machine(page).open();
    const start = Date.now();
    expect(await machine.boot(SMALL)).toEqual({ ok: true });
    expect(await machine.text()).toContain("SCREEN_42");
    expect(await machine.run("echo $answer $(cat /tmp/file)")).toContain("42 kept");
    console.log(`restored and answered in ${Date.now() - start} ms`);
    const before = Date.now() / 1000;
    const clock = Number(await machine.run("date +%s"));
    expect(clock).toBeGreaterThan(before - 1);
    expect(clock).toBeLessThan(Date.now() / 1000 + 1);
    const ticks = async () => Number((await machine.run("echo ticks=$(cat /tmp/ticks 2>/dev/null | wc -l)")).match(/ticks=(\d+)/)?.[1]);
    const then = await ticks();
    await expect.poll(ticks).toBeGreaterThan(then);
    const size = await page.evaluate(() => window.vivarium.console.size());
    expect(await machine.run("stty size")).toContain(`${size.rows} ${size.columns}`);
    expect(machine.errors).toEqual([]);
  });

  test("two copies of one snapshot do not draw the same random numbers", async ({ page }) => {
    let machine = await small(page);
    await machine.save();
    const drawn = new Set<string>();
    for (let copy = 0; copy < 2; copy++) {
      machine = await new Machine(page).open();
      expect(await machine.boot(SMALL)).toEqual({ ok: true });
      // The agent is told before the first key; give it the moment that a person takes.
      await page.waitForTimeout(300);
      drawn.add((await machine.run("od -An -tx8 -N16 /dev/urandom")).trim());
    }
    expect(drawn.size).toBe(2);
  });

  test("the second save writes little and stops the guest for a moment", async ({ page }) => {
    const machine = await small(page);
    const first = await machine.save();
    await machine.run("echo change > /tmp/change");
    const second = await machine.save();
    expect(second.deltaBytes).toBeLessThan(2e6);
    expect(second.deltaBytes).toBeLessThan(first.bytes / 2);
    console.log(`first ${first.bytes} bytes, then ${second.deltaBytes}; pauses ${first.pauseMs} and ${second.pauseMs} ms`);
    const list = await machine.list();
    expect(list.length).toBe(2);
    expect(list[0]!.id).toBe(second.id);
    expect(list.filter((snapshot) => snapshot.isHead).map((snapshot) => snapshot.id)).toEqual([second.id]);
  });

  test("a machine at rest is saved by itself, and found again by the same address", async ({ page }) => {
    const address = `engine=${kernel.name}&flavour=busybox&memory=${kernel.memory.small}`;
    let machine = await new Machine(page).open(address);
    await machine.waitForState("running");
    await machine.run("mine=$((6*7))");
    await expect(page.getByTestId("kept")).toHaveAttribute("data-kept", "saved", { timeout: 30_000 });
    machine = await new Machine(page).open(address);
    await machine.waitForState("running");
    expect(await machine.run("echo mine=$mine")).toContain("mine=42");
    machine = await new Machine(page).open(`${address}&boot=cold`);
    await machine.waitForState("running");
    expect(await machine.run("echo mine=$mine.")).toContain("mine=.");
    // What was saved before is not lost by that.
    const aside = (await machine.list()).find((snapshot) => snapshot.name === "Before the last new start or restore");
    expect(await machine.attempt("restore", aside!.id)).toBe("ok");
    expect(await machine.run("echo mine=$mine")).toContain("mine=42");
  });

  test("a page that is hidden saves", async ({ page }) => {
    const machine = await small(page, true);
    await expect(page.getByTestId("kept")).toHaveAttribute("data-kept", "saved", { timeout: 30_000 });
    await machine.run("late=$((6*7))");
    const before = (await machine.list())[0]!.id;
    await page.evaluate(() => {
      Object.defineProperty(document, "hidden", { value: true, configurable: true });
      document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
    });
    await expect.poll(async () => (await machine.list())[0]!.id, { timeout: 8_000 }).not.toBe(before);
  });

  test("the panel in the status line saves and goes back", async ({ page }) => {
    const machine = await small(page);
    await machine.run("n=1");
    const kept = page.getByTestId("kept");
    await kept.locator("summary").click();
    await page.getByTestId("panel-save").click();
    await expect(kept).toHaveAttribute("data-kept", "saved");
    await machine.run("n=2");
    await kept.locator("summary").click();
    await page.getByTestId("panel-go-back").click();
    await page.getByTestId("dialog-confirm").click();
    await expect.poll(async () => (await machine.state()) === "running" && (await machine.run("echo n=$n"))).toContain("n=1");
  });

  test("switching the engine saves first, and coming back goes on", async ({ page }) => {
    const machine = await new Machine(page).open(`flavour=busybox&engine=${kernel.name}&memory=${kernel.memory.small}`);
    await machine.waitForState("running");
    await machine.run("kept=$((6*7))");
    await page.getByTestId("engine-sim").click();
    await page.waitForFunction(() => window.vivarium.engine === "sim" && window.vivarium.state === "running", undefined, { timeout: BOOT_TIMEOUT });
    await page.getByTestId(`engine-${kernel.name}`).click();
    await page.waitForFunction((name) => window.vivarium.engine === name && window.vivarium.state === "running", kernel.name, { timeout: BOOT_TIMEOUT });
    expect(await machine.run("echo kept=$kept")).toContain("kept=42");
  });

  test("the manager lists, names, checks, exports, deletes, imports and restores", async ({ page }) => {
    const machine = await small(page);
    await machine.run("which=$((6*7))");
    await machine.save("with 42");
    await machine.run("which=other");
    await machine.save();
    await page.getByRole("link", { name: "Snapshots" }).first().click();
    // How much room there is stands beside the button that saves, and whether it is for good.
    await expect(page.getByTestId("snapshot-save")).toBeEnabled();
    await expect(page.getByTestId("snapshot-usage")).toContainText(/^\d.* of \d.* used; (kept|may be removed)/);
    const list = page.getByTestId("snapshot-list");
    const item = list.getByTestId("snapshot-item").filter({ hasText: "with 42" });
    await expect(item).toBeVisible();
    await expect(item).toContainText(/\d MB, .*(its own|shared)/);
    await expect(item).toContainText("just now");
    // The thumbnail is the screen as it was, in small.
    await expect(item.locator("pre")).toContainText("which=$((6*7))");
    await expect(item.locator("pre")).not.toContainText("which=other");
    await item.getByTestId("snapshot-verify").click();
    await expect(page.getByTestId("snapshot-said")).toContainText("is whole");
    const download = page.waitForEvent("download");
    await item.getByTestId("snapshot-export").click();
    const file = await (await download).path();
    await item.getByTestId("snapshot-delete").click();
    await page.getByTestId("dialog-confirm").click();
    await expect(item).toHaveCount(0);
    await page.getByTestId("snapshot-import").setInputFiles(file);
    await expect(item).toBeVisible({ timeout: 30_000 });
    await item.getByTestId("snapshot-restore").click();
    // The machine that runs is ended only after the snapshot was found whole.
    const booting = page.evaluate(() => new Promise<void>((done) => window.vivarium.on("state", (state) => state === "booting" && done())));
    await page.getByTestId("dialog-confirm").click();
    await booting;
    await machine.waitForState("running");
    expect(await machine.run("echo which=$which")).toContain("which=42");
  });

  test("a snapshot that is not the head can be restored and forked by programs", async ({ page }) => {
    const machine = await small(page);
    await machine.run("n=1");
    const first = await machine.save("first");
    await machine.run("n=2");
    await machine.save();
    expect(await machine.attempt("restore", first.id)).toBe("ok");
    expect(await machine.run("echo n=$n")).toContain("n=1");
    expect(await machine.attempt("fork", first.id, "copy")).toBe("ok");
    expect(await machine.boot({ ...SMALL, machine: "copy" })).toEqual({ ok: true });
    expect(await machine.run("echo n=$n")).toContain("n=1");
  });

  test("two tabs never run one machine: a copy, or a handover", async ({ page, context }) => {
    const first = await small(page);
    await first.run("owner=$((6*7))");
    await first.save();
    const second = await new Machine(await context.newPage()).open();
    expect(await second.boot(SMALL)).toMatchObject({ ok: false, code: "busy" });
    await expect(second.page.getByTestId("held")).toBeVisible();
    await second.page.getByTestId("open-copy").click();
    await second.waitForState("running");
    expect(await second.run("echo owner=$owner")).toContain("owner=42");
    await first.run("owner=$((owner+1))");
    const third = await new Machine(await context.newPage()).open();
    expect(await third.boot(SMALL)).toMatchObject({ ok: false, code: "busy" });
    await third.page.getByTestId("take-over").click();
    await third.waitForState("running");
    // The first tab has saved what it had before it let go.
    expect(await third.run("echo owner=$owner")).toContain("owner=43");
    await first.waitForState("failed");
    await expect(page.getByRole("alert")).toContainText("another tab");
  });

  test("a first visit starts at the prompt of the shipped machine", async ({ page }) => {
    const machine = await new Machine(page).open();
    const start = Date.now();
    expect(await machine.boot({ engine: kernel.name })).toEqual({ ok: true });
    console.log(`warm start in ${Date.now() - start} ms`);
    await machine.expectRealKernel();
    const clock = Number(await machine.run("date +%s"));
    expect(Math.abs(clock - Date.now() / 1000)).toBeLessThan(1.5);
    // It was started when the image was made, not now: a boot takes longer than no time.
    expect(await machine.run("ls /usr/bin/python3")).toContain("/usr/bin/python3");
    expect(await machine.run("python3 -c 'print(6*7)'", 60_000)).toContain("42");
  });
});
