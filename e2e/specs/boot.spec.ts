import { expect, test } from "@playwright/test";
import { eachKernel } from "../pages/engines.ts";
import { Machine } from "../pages/machine.ts";

eachKernel((kernel) => {
  for (const flavour of ["busybox", "full"]) {
    test(`the ${flavour} image boots to a real shell`, async ({ page }) => {
      const machine = await new Machine(page).open();
      expect(await machine.boot({ engine: kernel.name, flavour, start: "cold" })).toEqual({ ok: true });
      await machine.expectRealKernel();
      expect(await machine.run("uname -m")).toMatch(kernel.machine);
      expect(await machine.run("cat /proc/cmdline")).toContain("console=hvc0");
      expect(machine.errors).toEqual([]);
    });
  }

  test("the full image is Debian with the tools that it promises", async ({ page }) => {
    const machine = await new Machine(page).open();
    expect(await machine.boot({ engine: kernel.name, flavour: "full" })).toEqual({ ok: true });
    expect(await machine.run("python3 -c 'print(sum(i*i for i in range(1000)))'", 120_000)).toContain("332833500");
    expect(await machine.run("printf abc | sha256sum")).toContain("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect(await machine.run("python3 -c 'import ssl; print(ssl.OPENSSL_VERSION)'", 120_000)).toContain("OpenSSL 3");
    for (const tool of ["curl", "openssl", "git", "nano", "vim", "less", "ps", "ip", "busybox"]) {
      expect(await machine.run(`command -v ${tool}`)).toMatch(new RegExp(`/${tool}$`, "m"));
    }
    expect(await machine.run("echo $TERM $LANG")).toContain("xterm-256color C.UTF-8");
    expect(await machine.run("touch /etc/written && ls /etc/written")).toContain("/etc/written");
  });

  test("time passes at its own pace inside", async ({ page }) => {
    const machine = await new Machine(page).open();
    expect(await machine.boot({ engine: kernel.name, flavour: "busybox" })).toEqual({ ok: true });
    const drift = Number(await machine.run("date +%s")) - Date.now() / 1000;
    expect(Math.abs(drift)).toBeLessThan(5);
    const start = Date.now();
    await machine.run("sleep 2");
    expect(Date.now() - start).toBeGreaterThan(1900);
    expect(await machine.run("timeout 1 sleep 60; echo ended $?")).toMatch(/ended (124|143)/);
  });

  test("memory is what was asked for", async ({ page }) => {
    const machine = await new Machine(page).open();
    for (const memory of [kernel.memory.small, kernel.memory.large]) {
      expect(await machine.boot({ engine: kernel.name, flavour: "busybox", memory })).toEqual({ ok: true });
      const total = Number(await machine.run("awk '/MemTotal/ { print $2 }' /proc/meminfo")) / 1024;
      expect(total).toBeGreaterThan(memory * 0.8);
      expect(total).toBeLessThan(memory);
    }
  });

  test("an impossible amount of memory is refused in words", async ({ page }) => {
    const machine = await new Machine(page).open();
    const result = await machine.boot({ engine: kernel.name, flavour: "busybox", memory: kernel.memory.impossible });
    expect(result).toMatchObject({ ok: false, code: "unsupported" });
    expect(await machine.state()).toBe("failed");
    await expect(page.getByRole("alert")).toContainText(`${kernel.memory.impossible} MiB`);
  });

  test("power off and reboot end and start the machine", async ({ page }) => {
    const machine = await new Machine(page).open();
    expect(await machine.boot({ engine: kernel.name, flavour: "busybox" })).toEqual({ ok: true });
    await machine.run("touch /before");
    await machine.write("reboot\r");
    await machine.waitForState("booting");
    await machine.waitForState("running");
    expect(await machine.run("ls /before 2>/dev/null || echo gone")).toContain("gone");
    await machine.write("poweroff\r");
    await machine.waitForState("halted");
  });

  test("pause stands still, resume goes on", async ({ page }) => {
    const machine = await new Machine(page).open();
    expect(await machine.boot({ engine: kernel.name, flavour: "busybox" })).toEqual({ ok: true });
    await page.evaluate(() => window.vivarium.pause());
    await machine.waitForState("paused");
    const before = await page.evaluate(() => window.vivarium.stats().instructions ?? 0);
    await machine.write("echo LATER_$((20+3))\r");
    await page.waitForFunction(() => window.vivarium.state === "paused");
    expect(await machine.text()).not.toContain("LATER_23");
    await page.evaluate(() => window.vivarium.resume());
    await machine.waitForText(/^LATER_23/m);
    await page.waitForFunction((before) => (window.vivarium.stats().instructions ?? 0) > before, before);
  });
});
