// What a guest fetches with its tools, made at test time in a folder for a plain file server:
//   repository.git/   a bare repository, ready for git's dumb HTTP transport
//   simple/           a package index (PEP 503) with one small wheel
//   pip.tar           pip itself, which the guest's image does not have
//   debian/           a repository for apt, with one small package
import { execFileSync } from "node:child_process";
import crypto from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

export type Files = {
  folder: string;
  /** The commit that a clone has to end at. */
  commit: string;
  wheel: { name: string; sha256: string };
  /** A package of the repository, a program that it installs, and what that says. */
  deb: { name: string; program: string; says: string };
  remove(): void;
};

/** `python` must have pip: the one of `python.ts` does. */
export function files(python: string): Files {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "vivarium-files-"));
  return {
    folder,
    commit: repository(folder),
    wheel: index(folder, python),
    deb: debian(path.join(folder, "debian")),
    remove: () => fs.rmSync(folder, { recursive: true, force: true }),
  };
}

/** No configuration of the person who runs the tests may leak in. */
const GIT = {
  ...process.env,
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_CONFIG_SYSTEM: "/dev/null",
  GIT_AUTHOR_NAME: "Test",
  GIT_AUTHOR_EMAIL: "test@vivarium.test",
  GIT_COMMITTER_NAME: "Test",
  GIT_COMMITTER_EMAIL: "test@vivarium.test",
};

function repository(folder: string): string {
  const work = path.join(folder, "work");
  const git = (...args: string[]) => execFileSync("git", args, { cwd: work, env: GIT, encoding: "utf8" }).trim();
  fs.mkdirSync(work);
  git("init", "--quiet", "--initial-branch=main");
  for (const round of [1, 2, 3]) {
    fs.writeFileSync(path.join(work, "file.txt"), crypto.randomBytes(10_000 * round).toString("base64"));
    git("add", "file.txt");
    git("commit", "--quiet", "--message", `Commit ${round}`);
  }
  const commit = git("rev-parse", "HEAD");
  const bare = path.join(folder, "repository.git");
  git("clone", "--quiet", "--bare", ".", bare);
  // The lists without which a server of plain files cannot be cloned from.
  git("--git-dir", bare, "update-server-info");
  fs.rmSync(work, { recursive: true });
  return commit;
}

/** A wheel is a zip archive with three files of metadata (PEP 427). */
const WHEEL = `
import base64, hashlib, sys, zipfile
about = "vivarium_probe-1.0.dist-info/"
files = {
    "vivarium_probe.py": "answer = 42\\n",
    about + "METADATA": "Metadata-Version: 2.1\\nName: vivarium-probe\\nVersion: 1.0\\n",
    about + "WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
}
record = ""
for name, text in files.items():
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    record += f"{name},sha256={digest},{len(text)}\\n"
files[about + "RECORD"] = record + about + "RECORD,,\\n"
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
`;

function index(folder: string, python: string): Files["wheel"] {
  const name = "vivarium_probe-1.0-py3-none-any.whl";
  const place = path.join(folder, "simple/vivarium-probe");
  fs.mkdirSync(place, { recursive: true });
  execFileSync(python, ["-c", WHEEL, path.join(place, name)]);
  const sha256 = crypto.createHash("sha256").update(fs.readFileSync(path.join(place, name))).digest("hex");
  const page = (link: string, text: string) => `<!DOCTYPE html><html><body><a href="${link}">${text}</a></body></html>\n`;
  fs.writeFileSync(path.join(folder, "simple/index.html"), page("vivarium-probe/", "vivarium-probe"));
  fs.writeFileSync(path.join(place, "index.html"), page(`${name}#sha256=${sha256}`, name));
  const where = "import pip, os; print(os.path.dirname(os.path.dirname(pip.__file__)))";
  const packages = execFileSync(python, ["-c", where], { encoding: "utf8" }).trim();
  // Uncompressed, and with its compiled files: a guest of the same Python need not compile.
  execFileSync("tar", ["--create", "--file", path.join(folder, "pip.tar"), "--directory", packages, "pip"]);
  return { name, sha256 };
}

/** A repository as apt wants it: package, its description, and the hash of that. */
function debian(folder: string): Files["deb"] {
  const deb = { name: "vivarium-probe", program: "vivarium-probe", says: crypto.randomBytes(8).toString("hex") };
  const about = [`Package: ${deb.name}`, "Version: 1.0", "Architecture: all", "Maintainer: Test <test@vivarium.test>", "Description: says a word"];
  const file = `pool/${deb.name}_1.0_all.deb`;
  const work = path.join(folder, "work");
  write(work, "DEBIAN/control", `${about.join("\n")}\n`);
  write(work, `usr/bin/${deb.program}`, `#!/bin/sh\necho ${deb.says}\n`, 0o755);
  fs.mkdirSync(path.join(folder, "pool"));
  execFileSync("dpkg-deb", ["--root-owner-group", "-Zgzip", "--build", work, path.join(folder, file)], { stdio: ["ignore", "ignore", "pipe"] });
  fs.rmSync(work, { recursive: true });
  const facts = (bytes: Buffer | string) => ({ size: Buffer.byteLength(bytes), sha256: crypto.createHash("sha256").update(bytes).digest("hex") });
  const { size, sha256 } = facts(fs.readFileSync(path.join(folder, file)));
  const packages = [...about, `Filename: ${file}`, `Size: ${size}`, `SHA256: ${sha256}`, ""].join("\n");
  const lists = ["i386", "amd64"].map((architecture) => `main/binary-${architecture}/Packages`);
  lists.forEach((list) => write(folder, `dists/test/${list}`, packages));
  const { size: length, sha256: hash } = facts(packages);
  const release = ["Suite: test", "Codename: test", "Architectures: i386 amd64", "Components: main", `Date: ${new Date().toUTCString().replace("GMT", "UTC")}`, "SHA256:"];
  write(folder, "dists/test/Release", [...release, ...lists.map((list) => ` ${hash} ${length} ${list}`), ""].join("\n"));
  return deb;
}

function write(folder: string, name: string, text: string, mode = 0o644): void {
  const file = path.join(folder, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, text, { mode });
}
