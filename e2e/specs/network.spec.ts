// The guest's network, on every engine that has one: a real kernel, its own tools, our
// gateway, our relay, servers on loopback.
import { expect } from "@playwright/test";
import fs from "node:fs";
import { eachKernel } from "../pages/engines.ts";
import { Guest } from "../pages/network.ts";
import { DENIED, FOREIGN, WEB, test } from "../servers/world.ts";
import { closedPort } from "../servers/echo.ts";
import { LARGE, LARGE_SHA256, PIECE, body, sha256 } from "../servers/web.ts";

/** What is refused is refused at once: no time-out has such a figure, a busy machine has. */
const FAST_SECONDS = 3;

/** pcap's magic number, little-endian, microseconds; and Ethernet in the last field of its header. */
const PCAP = { magic: "d4c3b2a1", link: 1 };

eachKernel(({ name: engine }) => {
  test("the guest gets an address, a route and names, and asks nobody but the gateway", async ({ page, world, relay }) => {
    const guest = await Guest.boot(page, engine, relay.url);
    expect(await guest.run("ip -4 address show eth0")).toContain("10.0.2.15/24");
    expect(await guest.run("ip route")).toContain("default via 10.0.2.2");
    expect(await guest.run("cat /etc/resolv.conf")).toContain("nameserver 10.0.2.3");
    expect(await guest.run("ping -c 1 -W 5 10.0.2.2")).toContain(" 0% packet loss");
    expect((await guest.report()).lease).toContain("10.0.2.15");
    const asked = world.dns.asked.length;
    expect(await guest.run(`getent ahosts ${WEB}`)).toMatch(/^198\.1[89]\.\d+\.\d+/m);
    expect(await guest.run("getent hosts printer.local || echo none_$((6*7))")).toContain("none_42");
    // The name is looked up by the relay, and only for a connection.
    expect(world.dns.asked.length).toBe(asked);
    expect(await guest.curl(`http://${WEB}:${world.web.port}/status`)).toMatchObject({ status: 200, exit: 0 });
    expect(world.dns.asked.slice(asked)).toContain(WEB);
    expect(guest.errors).toEqual([]);
  });

  test("20 MB over HTTPS with the test's authority arrive to the byte", async ({ page, world, relay }) => {
    const guest = await Guest.boot(page, engine, relay.url);
    const url = world.secure.at(WEB, "large");
    // Nobody but us made that certificate.
    expect(await guest.curl(`${url} -o /dev/null`)).toMatchObject({ exit: 60 });
    await guest.trust(world.authority.ca);
    const result = await guest.curl(`--cacert /root/ca.pem ${url} -o /tmp/large`, 170_000);
    expect(result).toMatchObject({ status: 200, exit: 0 });
    console.log(`20 MB over HTTPS: ${(LARGE / 1e6 / result.seconds).toFixed(2)} MB/s`);
    expect(await guest.run("sha256sum /tmp/large", 120_000)).toContain(LARGE_SHA256);
    expect((await guest.report()).received).toBeGreaterThan(LARGE);
  });

  test("5 MB that are posted come back intact", async ({ page, world, relay }) => {
    const guest = await Guest.boot(page, engine, relay.url);
    await guest.trust(world.authority.ca);
    await guest.run("head -c 5000000 /dev/urandom > /tmp/up");
    const post = `--cacert /root/ca.pem --data-binary @/tmp/up ${world.secure.at(WEB, "echo")} -o /tmp/down`;
    expect(await guest.curl(post, 170_000)).toMatchObject({ status: 200, exit: 0 });
    expect(await guest.run("cmp /tmp/up /tmp/down && echo same_$(stat -c %s /tmp/down)", 120_000)).toContain("same_5000000");
  });

  test("32 downloads at once", async ({ page, world, relay }) => {
    const guest = await Guest.boot(page, engine, relay.url);
    // The server answers none before it is asked for all.
    const url = world.web.at(WEB, "together/[1-32]?of=32");
    expect(await guest.curl(`-Z --parallel-immediate --parallel-max 32 '${url}' -o '/tmp/piece#1'`, 120_000)).toMatchObject({ exit: 0 });
    const all = Buffer.concat(Array.from({ length: 32 }, (_, index) => body(PIECE, index + 1)));
    expect(await guest.run("cat /tmp/piece{1..32} | sha256sum", 60_000)).toContain(sha256(all));
  });

  test("a refused port is refused fast, and as that", async ({ page, world, relay }) => {
    const guest = await Guest.boot(page, engine, relay.url);
    const result = await guest.curl(`http://${WEB}:${world.closed}/`);
    expect(result).toMatchObject({ exit: 7, status: 0 });
    expect(result.seconds).toBeLessThan(FAST_SECONDS);
    expect(await guest.run(`bash -c 'exec 3<>/dev/tcp/${WEB}/${world.closed}'`)).toContain("Connection refused");
    // A name that nobody has fails at the connection, not with a hang.
    const missing = await guest.curl(`http://missing.vivarium.test:${world.web.port}/`);
    expect(missing.exit).toBe(7);
    expect(missing.seconds).toBeLessThan(FAST_SECONDS);
  });

  test("what a policy blocks is named as blocked: the relay's, the page's, and tricks with names", async ({ page, world, relay }) => {
    const guest = await Guest.boot(page, engine, relay.url);
    const { port } = world.web;
    const blocked = async (host: string) => {
      const result = await guest.curl(`http://${host}:${port}/status`);
      expect(result, host).toMatchObject({ exit: 7, status: 0 });
      expect(result.seconds, host).toBeLessThan(FAST_SECONDS);
      await expect.poll(async () => (await guest.report()).blocked.map(({ host }) => host), { message: host }).toContain(host);
    };
    const reach = async (host: string) => expect(await guest.curl(`http://${host}:${port}/status`)).toMatchObject({ exit: 0, status: 200 });
    await blocked(FOREIGN);
    await blocked("private.vivarium.test");
    await blocked("mixed.vivarium.test");
    // The first answer is one that may be reached, and is the one that is connected to.
    world.dns.forget("changing.vivarium.test");
    await reach("changing.vivarium.test");
    await blocked("changing.vivarium.test");
    const seen = world.web.accepted;
    await reach(DENIED);
    expect(world.web.accepted).toBe(seen + 1);
    await guest.policy(`deny ${DENIED}\n`);
    await blocked(DENIED);
    expect(world.web.accepted).toBe(seen + 1);
    await reach(WEB);
    await page.getByTestId("network-light").click();
    await expect(page.getByTestId("network-blocked")).toContainText(FOREIGN);
    await expect(page.getByTestId("network-blocked")).toContainText(DENIED);
  });

  test("a policy that is changed ends what it denies", async ({ page, world, relay }) => {
    const guest = await Guest.boot(page, engine, relay.url);
    const running = guest.curl(`http://${DENIED}:${world.web.port}/paced -o /dev/null`);
    await guest.flow(DENIED, 100_000);
    await guest.policy("default deny\n");
    expect((await running).exit).not.toBe(0);
    await guest.policy("allow vivarium.test\ndefault deny\n");
    expect(await guest.curl(`http://${DENIED}:${world.web.port}/status`)).toMatchObject({ status: 200 });
  });

  test("git clones, with the authority among the system's own", async ({ page, world, relay }) => {
    const guest = await Guest.boot(page, engine, relay.url);
    await guest.trust(world.authority.ca);
    await guest.run("cp /root/ca.pem /usr/local/share/ca-certificates/test.crt");
    expect(await guest.run("update-ca-certificates 2>&1 | tail -3", 150_000)).toMatch(/[1-9]\d* added, 0 removed/);
    const clone = `git clone -q ${world.secure.at(WEB, "repository.git")} /tmp/clone`;
    expect(await guest.run(`${clone}; git -C /tmp/clone rev-parse HEAD`, 120_000)).toContain(world.files.commit);
    expect(await guest.run("git -C /tmp/clone fsck --full; echo fsck_$?", 60_000)).toContain("fsck_0");
  });

  test("pip downloads from an index", async ({ page, world, relay }) => {
    test.setTimeout(300_000);
    const guest = await Guest.boot(page, engine, relay.url);
    await guest.trust(world.authority.ca);
    const pip = `curl -sS ${world.web.at(WEB, "pip.tar")} | tar -x -C /opt`;
    await guest.run(pip, 60_000);
    const index = `--index-url ${world.secure.at(WEB, "simple/")} --cert /root/ca.pem`;
    const download = `PYTHONPATH=/opt python3 -m pip download -q --no-cache-dir ${index} -d /tmp/wheels vivarium-probe 2>&1 | tail -5`;
    await guest.run(download, 240_000);
    expect(await guest.run(`sha256sum /tmp/wheels/${world.files.wheel.name}`)).toContain(world.files.wheel.sha256);
  });

  test("apt updates its lists and installs from a repository", async ({ page, world, relay }) => {
    test.setTimeout(300_000);
    const guest = await Guest.boot(page, engine, relay.url);
    const { name, program, says } = world.files.deb;
    // Nobody has signed it: what is tested is the way there.
    await guest.run(`echo 'deb [trusted=yes] ${world.web.at(WEB, "debian")} test main' > /etc/apt/sources.list`);
    expect(await guest.run("apt-get update; echo updated_$?", 120_000)).toContain("updated_0");
    // From a terminal apt hands what is typed to dpkg, and with it the line that follows.
    expect(await guest.run(`apt-get install -y -q ${name} < /dev/null 2>&1 | tail -5`, 150_000)).toContain(`Setting up ${name} (1.0)`);
    expect(await guest.run(program)).toContain(says);
    expect(world.web.requests).toContain("GET /debian/dists/test/Release");
  });

  test("datagrams, a connection that is half closed, and errors that say why", async ({ page, world, relay }) => {
    const guest = await Guest.boot(page, engine, relay.url);
    const python = async (...lines: string[]) => {
      await guest.run(`cat > /tmp/it.py << 'EOF'\nfrom socket import *\n${lines.join("\n")}\nEOF`);
      return guest.run("python3 /tmp/it.py", 60_000);
    };
    // As a client of NTP does it: a name, one datagram there, one back.
    const udp = (host: string, port: number) => [
      "s = socket(AF_INET, SOCK_DGRAM)",
      "s.settimeout(20)",
      `s.connect(("${host}", ${port}))`,
      "s.send(b'what time is it')",
    ];
    expect(await python(...udp(WEB, world.echo.udpPort), "print('back', s.recv(100))")).toContain("back b'what time is it'");
    // The end of one direction, and all of the other after it.
    const half = [
      `s = create_connection(("${WEB}", ${world.echo.port}))`,
      "s.sendall(b'x' * 300000)",
      "s.shutdown(SHUT_WR)",
      "n = 0",
      "while b := s.recv(65536): n += len(b)",
      "print('after the end', n)",
    ];
    expect(await python(...half)).toContain("after the end 300000");
    // What is prohibited is told by ICMP (type 3, code 13), to whoever asks in whatever way.
    const reason = ["import errno", "try: s.recv(100)", "except OSError as e: print('told', errno.errorcode.get(e.errno, e))"] as const;
    expect(await python(...udp(FOREIGN, world.echo.udpPort), ...reason)).toContain("told EHOSTUNREACH");
    expect(await guest.run("ping -c 1 -W 5 192.0.2.1")).toContain("Packet filtered");
    const tcp = [`try: create_connection(("${FOREIGN}", ${world.web.port}))`, ...reason.slice(2)];
    expect(await python("import errno", ...tcp)).toContain("told EHOSTUNREACH");
  });

  test("a restored machine's next curl works, and its old connections have ended", async ({ page, world, relay }) => {
    let guest = await Guest.boot(page, engine, relay.url);
    const { port } = world.web;
    const name = `getent ahosts ${WEB} | head -1`;
    const address = await guest.run(name);
    await guest.run(`(curl -sSN http://${WEB}:${port}/slow > /tmp/slow 2> /tmp/why; echo "ended=$?" > /tmp/ended) &`);
    await guest.run("until grep -q first /tmp/slow; do sleep 0.2; done");
    await guest.save();
    guest = await Guest.boot(page, engine, relay.url, { start: "head" });
    expect(await guest.curl(`http://${WEB}:${port}/status`)).toMatchObject({ status: 200, exit: 0 });
    // What a program of the guest has remembered of a name still holds.
    expect(await guest.run(name)).toBe(address);
    expect(await guest.run("until [ -e /tmp/ended ]; do sleep 0.2; done; cat /tmp/ended /tmp/why")).toMatch(/ended=[1-9]/);
  });

  test("the light, the panel with its flows, and a recording", async ({ page, world, relay }) => {
    const guest = await Guest.boot(page, engine, relay.url);
    await page.evaluate(() => window.vivarium.network.capture.start());
    const running = guest.curl(`http://${WEB}:${world.web.port}/paced -o /dev/null`, 120_000);
    await guest.flow(WEB, 200_000);
    await page.getByTestId("network-light").click();
    await expect(page.getByTestId("network-state")).toHaveAttribute("data-network", "up");
    await expect(page.getByTestId("network-relay")).toHaveValue(relay.url);
    const row = page.getByTestId("network-flow").filter({ hasText: WEB }).first();
    await expect(row).toContainText(`${world.web.port}`);
    await expect(row).toContainText(/\d+(\.\d+)? [kM]B/);
    expect(await running).toMatchObject({ status: 200 });
    const header = await page.evaluate(async () => [...(await window.vivarium.network.capture.stop()).slice(0, 24)]);
    const bytes = Buffer.from(header);
    expect(bytes.subarray(0, 4).toString("hex")).toBe(PCAP.magic);
    expect(bytes.readUInt32LE(20)).toBe(PCAP.link);
    // The same for a person: one button begins, and ends with a file.
    const button = page.getByTestId("network-pcap");
    await button.click();
    await guest.curl(`http://${WEB}:${world.web.port}/status`);
    const download = page.waitForEvent("download");
    await button.click();
    const file = fs.readFileSync(await (await download).path());
    expect(file.subarray(0, 4).toString("hex")).toBe(PCAP.magic);
    expect(file.includes("GET /status")).toBe(true);
  });

  test("without a relay the guest is told at once, and the page says so", async ({ page, world }) => {
    for (const [net, type] of [
      ["off", "off"],
      [`ws://127.0.0.1:${await closedPort()}/`, "backingOff"],
    ] as const) {
      const guest = await Guest.boot(page, engine, net, { link: type });
      const result = await guest.curl(`http://${WEB}:${world.web.port}/`);
      expect(result.exit, result.text).toBeGreaterThan(0);
      expect(result.seconds).toBeLessThan(2);
      expect(result.text).toMatch(/curl: \(\d+\) \S+/);
      await expect(page.getByTestId("network-light")).toHaveAttribute("data-network", type);
      await expect(page.getByTestId("network-light")).toContainText(type === "off" ? "off" : /retry in|trying again/);
    }
  });
});
