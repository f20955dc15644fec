// The bench is no test: nothing in it fails for being slow. It has the tests' server and
// browser, a long leash, and one run after the other.
import { defineConfig } from "@playwright/test";
import base from "../playwright.config.ts";

export default defineConfig({
  ...base,
  testDir: ".",
  testMatch: "*.bench.ts",
  outputDir: "../results/bench",
  globalSetup: "../servers/start.ts",
  timeout: 1_800_000,
});
