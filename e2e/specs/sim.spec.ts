import { expect, test } from "@playwright/test";
import { eachKernel } from "../pages/engines.ts";
import { Machine } from "../pages/machine.ts";

test("the simulated shell is there at once and says what it is", async ({ page }) => {
  const machine = await new Machine(page).open("engine=sim");
  await machine.waitForState("running", 30_000);
  expect(await machine.text()).toMatch(/simulated/i);
  expect(await machine.run("echo $((6*7)) | tr 4 8")).toContain("82");
  expect(await machine.run("for i in 3 1 2; do echo $i; done | sort | paste -sd,")).toContain("1,2,3");
  await machine.run("echo hello > /tmp/a.txt; cp /tmp/a.txt /tmp/b.txt");
  expect(await machine.run("cat /tmp/*.txt | wc -l")).toContain("2");
  expect(await machine.run("uname -a")).not.toMatch(/^Linux/m);
  expect(machine.errors).toEqual([]);
});

test("typing, editing and history work with real keys", async ({ page }) => {
  const machine = await new Machine(page).open("engine=sim");
  await machine.waitForState("running", 30_000);
  await page.getByTestId("terminal").click();
  await page.keyboard.type("echo $((6*8))");
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("Backspace");
  await page.keyboard.type("7");
  await page.keyboard.press("Enter");
  await machine.waitForText(/^42$/m);
  await page.keyboard.press("ArrowUp");
  await page.keyboard.type(" again");
  await page.keyboard.press("Enter");
  await machine.waitForText(/^42 again$/m);
});

eachKernel((kernel) => {
  test("switching from sim to a real kernel and back", async ({ page }) => {
    const machine = await new Machine(page).open("engine=sim&flavour=busybox");
    await machine.waitForState("running", 30_000);
    await page.getByTestId(`engine-${kernel.name}`).click();
    await page.waitForFunction((name) => window.vivarium.engine === name, kernel.name);
    await machine.waitForState("running");
    await machine.expectRealKernel();
    // The machine is saved first, so nobody has to be asked.
    await page.getByTestId("engine-sim").click();
    await page.waitForFunction(() => window.vivarium.engine === "sim");
    await machine.waitForState("running", 30_000);
    expect(await machine.run("echo $((6*7))")).toContain("42");
    expect(machine.errors).toEqual([]);
  });
});

test("a flood in the simulated shell can be ended", async ({ page }) => {
  const machine = await new Machine(page).open("engine=sim");
  await machine.waitForState("running", 30_000);
  await machine.write("while true; do echo flood; done\r");
  await machine.waitForText(/^flood/m);
  await machine.write("\x03");
  expect(await machine.run("echo $((50-8))")).toContain("42");
});
