// Starts the server that people use (`xtask serve`) on what was built, and a second one in
// front of it that can be told to lose and damage files. Both listen on loopback, on ports
// of their own choice, and end with the tests.
import { spawn } from "node:child_process";
import path from "node:path";
import { Faulty } from "./faulty.ts";

const root = path.resolve(import.meta.dirname, "../..");

export default async function start(): Promise<() => Promise<void>> {
  const program = process.env.VIVARIUM_XTASK ?? path.join(root, "target/debug/xtask");
  const server = spawn(program, ["serve", "--built", "--port", "0", "--no-open"], {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const base = await new Promise<string>((resolve, reject) => {
    let text = "";
    server.once("exit", (code) => reject(new Error(`xtask serve ended with ${code}: ${text}`)));
    server.stdout.on("data", (piece) => {
      text += piece;
      const url = /http:\/\/127\.0\.0\.1:\d+\//.exec(text);
      if (url) resolve(url[0]);
    });
  });
  const faulty = await Faulty.start(base);
  process.env.VIVARIUM_URL = base;
  process.env.VIVARIUM_FAULTY_URL = faulty.url;
  return async () => {
    await faulty.stop();
    server.removeAllListeners("exit");
    const ended = new Promise((resolve) => server.once("exit", resolve));
    server.kill("SIGTERM");
    await ended;
  };
}
