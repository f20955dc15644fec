import { expect, test } from "@playwright/test";
import { BEST, eachKernel } from "../pages/engines.ts";
import { BOOT_TIMEOUT, Machine, faultyUrl, type BootResult } from "../pages/machine.ts";

async function fault(kind: string, path: string): Promise<void> {
  await fetch(`${faultyUrl()}__fault?kind=${kind}&path=${encodeURIComponent(path)}`, { method: "PUT" });
}

async function heal(): Promise<void> {
  await fetch(`${faultyUrl()}__fault`, { method: "DELETE" });
}

eachKernel((kernel) => {
  // A hang is one after a minute in which nothing happens: the others' minute, too.
  let hanging: { machine: Machine; result: Promise<BootResult> };
  test.beforeAll(async ({ browser }) => {
    const machine = await new Machine(await (await browser.newContext()).newPage()).open();
    // A program that waits for ever instead of an init.
    const result = machine.boot({ engine: kernel.name, flavour: "busybox", cmdline: "rdinit=/bin/sh" });
    // Told by its own test, if at all.
    result.catch(() => {});
    hanging = { machine, result };
  });
  test.afterAll(() => hanging.machine.page.context().close());

  test("a kernel without a root disk is a fault, not a boot", async ({ page }) => {
    const machine = await new Machine(page).open();
    const result = await machine.boot({ engine: kernel.name, flavour: "full", cmdline: "root=/dev/nonsense" });
    expect(result).toMatchObject({ ok: false, code: "kernel-panic" });
    expect(await machine.state()).toBe("failed");
    const alert = page.getByRole("alert");
    await expect(alert).toContainText("panic");
    await expect(alert).toContainText("/dev/nonsense");
    // The check that the boot test itself relies on must fail here.
    await expect(machine.expectRealKernel(5_000)).rejects.toThrow();
  });

  test("a triple fault is not passed off as a boot", async ({ page }) => {
    const machine = await new Machine(page).open();
    expect(await machine.boot({ engine: kernel.name, flavour: "busybox", cmdline: "reboot=t" })).toEqual({ ok: true });
    await machine.write("reboot -f\r");
    await page.waitForFunction(() => window.vivarium.state !== "running", undefined, { timeout: 30_000 });
    await machine.waitForState("failed");
    const alert = page.getByRole("alert");
    await expect(alert).toContainText(/triple fault/i);
    // The last words of the guest, and of our own engine the processor's registers.
    await expect(alert).toContainText(/reboot: /);
    if (kernel.name === "x86-64") await expect(alert).toContainText(/RIP=[0-9a-f]+/i);
  });

  test("a crashed worker is told and can be restarted", async ({ page }) => {
    const machine = await new Machine(page).open();
    expect(await machine.boot({ engine: kernel.name, flavour: "busybox" })).toEqual({ ok: true });
    await page.evaluate(() => window.vivarium.debug.crash());
    await machine.waitForState("failed");
    const alert = page.getByRole("alert");
    await expect(alert).toContainText("broke down");
    await alert.getByRole("button", { name: /restart/i }).click();
    await machine.waitForState("running");
    await machine.expectRealKernel();
  });

  test.describe("with a server that loses and damages files", () => {
    test.afterEach(heal);

    for (const [kind, code, words] of [
      ["missing", "image-missing", /not on the server/],
      ["corrupt", "image-corrupt", /damaged/],
    ] as const) {
      test(`a ${kind} chunk stops the machine, and a retry lets it go on`, async ({ page }) => {
        await fault(kind, "/disk/");
        const machine = await new Machine(page).open("autoboot=0", faultyUrl());
        const result = machine.boot({ engine: kernel.name, flavour: "full", start: "cold" });
        const alert = page.getByRole("alert");
        await expect(alert).toContainText(words, { timeout: BOOT_TIMEOUT });
        expect(await result).toMatchObject({ ok: false, code });
        await heal();
        await alert.getByRole("button", { name: /try again/i }).click();
        await machine.waitForState("running");
        await machine.expectRealKernel();
      });
    }

    test("a corrupt kernel is refused before it runs", async ({ page }) => {
      await fault("corrupt", kernel.kernelFile);
      const machine = await new Machine(page).open("autoboot=0", faultyUrl());
      expect(await machine.boot({ engine: kernel.name, flavour: "busybox" })).toMatchObject({ code: "image-corrupt" });
      await heal();
      await page.getByRole("alert").getByRole("button", { name: /restart|try again/i }).first().click();
      await machine.waitForState("running");
    });

    test("a missing image is told with what to do", async ({ page }) => {
      await fault("missing", "/image/");
      const machine = await new Machine(page).open("autoboot=0", faultyUrl());
      expect(await machine.boot({ engine: kernel.name, start: "cold" })).toMatchObject({ code: "image-missing" });
      await expect(page.getByRole("alert")).toContainText("cargo xtask image");
    });
  });

  test("a guest that says nothing is called a hang", async () => {
    const { machine, result } = hanging;
    expect(await result).toMatchObject({ ok: false, code: "hang" });
    await expect(machine.page.getByRole("alert")).toContainText("no sign of life");
  });
});

test("a server that goes silent is asked again", async ({ page }) => {
  await fault("stalled", "/disk/");
  const machine = await new Machine(page).open("autoboot=0", faultyUrl());
  const asked = page.waitForRequest((request) => request.url().includes("/disk/"), { timeout: BOOT_TIMEOUT });
  const result = machine.boot({ engine: BEST.name, flavour: "full", start: "cold" });
  await asked;
  // The request that was left without an answer never gets one.
  await heal();
  expect(await result).toEqual({ ok: true });
  await machine.expectRealKernel();
});
