import { expect, test } from "@playwright/test";
import fs from "node:fs";
import path from "node:path";
import zlib from "node:zlib";
import { BEST } from "../pages/engines.ts";
import { Machine, url } from "../pages/machine.ts";

test("the address decides over settings, and says so when it cannot", async ({ page }) => {
  const machine = await new Machine(page).open("engine=kernel&autoboot=0&memory=512");
  expect(await page.evaluate(() => window.vivarium.engine)).toBe(BEST.name);
  expect(await machine.state()).toBe("idle");
  await machine.open("engine=quantum&autoboot=0");
  await expect(page.locator("body")).toContainText("quantum");
  expect(await page.evaluate(() => window.vivarium.engine)).toBe("sim");
});

test("every route opens by its address and keeps the machine", async ({ page }) => {
  for (const route of ["settings", "snapshots", "about"]) {
    await page.goto(`${url()}${route}?autoboot=0`);
    await expect(page.getByRole("heading", { level: 1 }).first()).toBeVisible();
  }
  const machine = await new Machine(page).open("engine=sim");
  await machine.waitForState("running", 30_000);
  await machine.run("kept=$((6*7))");
  await page.getByRole("link", { name: /settings/i }).first().click();
  await expect(page).toHaveURL(/settings/);
  await page.goBack();
  expect(await machine.run("echo kept=$kept")).toContain("kept=42");
});

test("settings are kept", async ({ page }) => {
  await page.goto(`${url()}settings?autoboot=0`);
  const size = page.getByLabel(/font size/i);
  await size.fill("18");
  await size.blur();
  await page.reload();
  await expect(page.getByLabel(/font size/i)).toHaveValue("18");
});

test("an underscore is seen", async ({ page }) => {
  const machine = await new Machine(page).open("engine=sim");
  await machine.waitForState("running", 30_000);
  await machine.write("clear; echo; echo; echo ________\r");
  await machine.waitForText(/^________$/m);
  // Rows hide what sticks out, so the blank row above shows nothing of it either.
  const seen = async (row: number) => {
    const picture = await page.locator(`.xterm-rows > div:nth-child(${row})`).screenshot();
    return page.evaluate(async (base64) => {
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
      const canvas = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d")!;
      canvas.drawImage(bitmap, 0, 0);
      const { data } = canvas.getImageData(0, 0, bitmap.width, bitmap.height);
      return data.some((value, index) => index % 4 < 3 && Math.abs(value - data[index % 4]!) > 60);
    }, picture.toString("base64"));
  };
  await expect.poll(() => seen(3)).toBe(true);
  expect(await seen(2)).toBe(false);
});

test("no view is wider than a small phone", async ({ page }) => {
  await page.setViewportSize({ width: 360, height: 740 });
  for (const route of ["", "settings", "snapshots", "about"]) {
    await page.goto(`${url()}${route}?autoboot=0`);
    await page.waitForFunction(() => typeof window.vivarium?.boot === "function");
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    expect(overflow, `/${route}`).toBeLessThanOrEqual(0);
  }
});

test("a file that is not there is not answered with the page", async ({ request }) => {
  expect((await request.get(`${url()}image/i386/disk/nothing`)).status()).toBe(404);
  expect((await request.get(`${url()}vendor/missing.js`)).status()).toBe(404);
  const page = await request.get(`${url()}settings`);
  expect(page.headers()["content-security-policy"]).toContain("default-src 'none'");
  for (const path of ["../Cargo.toml", "..%2fCargo.toml", "image/%2e%2e/%2e%2e/Cargo.toml"]) {
    const response = await request.get(`${url()}${path}`);
    expect(await response.text()).not.toContain("[workspace]");
  }
});

test("the app's wasm keeps to its budget", async () => {
  const wasm = fs.readFileSync(path.resolve(import.meta.dirname, "../../dist/vivarium_bg.wasm"));
  expect(zlib.brotliCompressSync(wasm).length).toBeLessThanOrEqual(450 * 1024);
});
