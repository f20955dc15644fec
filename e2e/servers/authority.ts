// A certificate authority for one test run, and its certificate for names of the test's
// zone. Made by the machine's openssl; the keys never leave a temporary folder.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { ZONE } from "./dns.ts";

export type Authority = {
  /** The authority's own certificate, PEM: what a guest has to trust. */
  ca: string;
  /** The server's certificate and key, PEM. */
  cert: string;
  key: string;
};

export function authority(): Authority {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "vivarium-ca-"));
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  const read = (file: string) => fs.readFileSync(path.join(folder, file), "utf8");
  // Elliptic keys: short enough to be typed into a terminal, quick on an emulated processor.
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  try {
    const days = ["-days", "2"];
    openssl("req", "-x509", ...key, ...days, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Vivarium test authority",
      "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign");
    openssl("req", "-new", ...key, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", `/CN=web.${ZONE}`);
    fs.writeFileSync(path.join(folder, "leaf.ext"), `subjectAltName=DNS:${ZONE},DNS:*.${ZONE}\nextendedKeyUsage=serverAuth\n`);
    openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "2", ...days,
      "-extfile", "leaf.ext", "-out", "leaf.pem");
    return { ca: read("ca.pem"), cert: read("leaf.pem"), key: read("leaf.key") };
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}
