import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { root, run, temporaryDirectory } from "../cli/program.ts";

/** An apt-get that writes down what it is asked for and, if it is to succeed, brings every program the project asks for. */
function fakeAptGet(directory: string, succeeds: boolean): string {
  const log = join(directory, "log");
  const programs = [
    "ip",
    "bridge",
    "ping",
    "sysctl",
    "setsid",
    "etcd",
    "etcdctl",
    "iptables",
    "nft",
    "iperf3",
    "tcpdump",
    "ethtool",
    "openssl",
    "tc",
  ];
  const install = succeeds
    ? `for p in ${programs.join(" ")}; do printf '#!/bin/sh\\n' > ${directory}/$p; /bin/chmod +x ${directory}/$p; done`
    : "exit 100";
  writeFileSync(
    join(directory, "apt-get"),
    `#!/bin/sh\necho "$*" >> ${log}\nif [ "$1" = install ]; then\n  echo "talk of apt"\n  ${install}\nfi\n`,
    { mode: 0o755 },
  );
  return log;
}

/** `scripts/prepare.mjs test` where nothing but Node and, perhaps, apt-get is on the PATH. */
async function prepare(directory: string) {
  mkdirSync(join(directory, "tmp"), { recursive: true });
  symlinkSync("/bin/sh", join(directory, "sh"));
  return await run(process.execPath, [join(root, "scripts/prepare.mjs"), "test"], {
    env: { PATH: directory, TMPDIR: join(directory, "tmp") },
  });
}

describe("scripts/prepare.mjs", () => {
  test("prepare asks apt-get by name for what is missing, once its lists are read, and says so", async () => {
    using directory = temporaryDirectory();
    const log = fakeAptGet(directory.path, true);
    const { end, stdout, stderr } = await prepare(directory.path);
    expect({ end, stderr }).toEqual({ end: 0, stderr: "" });
    const [update, install, ...more] = readFileSync(log, "utf8").trim().split("\n");
    expect([update, more]).toEqual(["update", []]);
    expect(install).toMatch(/^install -y --no-install-recommends .*\betcd-server etcd-client\b/);
    expect(stdout).toMatch(/^reading Debian's package lists … [\d.]+ s\ninstalling .*etcd-server.* … [\d.]+ s\n/m);
    expect(stdout).not.toContain("talk of apt");
  });

  test("prepare shows what apt-get said when it fails", async () => {
    using directory = temporaryDirectory();
    fakeAptGet(directory.path, false);
    const { end, stdout, stderr } = await prepare(directory.path);
    expect(end).toBe(1);
    expect(stdout).toMatch(/^installing .* … failed \(100\)/m);
    expect(stderr).toContain("talk of apt");
  });

  test("prepare names what is missing and how to get it where there is no apt-get", async () => {
    using directory = temporaryDirectory();
    const { end, stderr } = await prepare(directory.path);
    expect(end).toBe(1);
    expect(stderr).toMatch(
      /^needed and not found: .*\betcd\b.*apt-get install -y --no-install-recommends .*\betcd-server\b/,
    );
  });
});
