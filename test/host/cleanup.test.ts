import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { launcher } from "../../src/lab/launcher.ts";
import type { Place } from "../../src/lab/place.ts";
import { processesInNamespaces } from "../../src/lab/processes.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { ceiling, hostsOf, untilPing } from "../e2e/hosts.ts";

const { signal } = new AbortController();

/** All that flannel could have changed in a host's network stack, as the host's own tools show it. */
async function snapshot(host: Place): Promise<string> {
  await waitUntil(async () => !(await host.run(["ip", "addr"])).includes("tentative"), {
    signal,
    within: 10_000,
    what: "the kernel has made sure of its IPv6 addresses",
  });
  const shown = await Promise.all(
    [
      ["ip", "-br", "link"],
      ["ip", "-o", "addr"],
      ["ip", "route", "show", "table", "all"],
      ["ip", "-6", "route", "show", "table", "all"],
      ["ip", "rule"],
      ["ip", "nexthop"],
      ["ip", "neigh", "show", "nud", "permanent"],
      ["bridge", "fdb"],
      ["nft", "list", "ruleset"],
      ["iptables-save"],
      [
        "sh",
        "-c",
        "sysctl -a 2>/dev/null | grep -v -e random -e _time -e fs.dentry -e gc_ -e '^net.netfilter.nf_conntrack_count'",
      ],
    ].map(async (argv) => `# ${argv.join(" ")}\n${(await host.exec(argv)).stdout}`),
  );
  return shown
    .join("")
    .split("\n")
    .filter((line) => !/^# (Generated|Completed)|expires|\bDELAY\b|^fs\.|^kernel\.|^vm\./.test(line))
    .map((line) => line.trimEnd())
    .join("\n");
}

async function cleanup(host: LabHost, ...args: readonly string[]) {
  const files = [`--state-dir=${host.stateDirectory}`, `--subnet-file=${host.subnetFile}`, "--subnet-dir=/nowhere"];
  return await host.exec([launcher("flannel"), "cleanup", ...files, ...args]);
}

async function removed(host: LabHost, ...args: readonly string[]): Promise<readonly string[]> {
  const { stdout, stderr, code } = await cleanup(host, "--json", ...args);
  if (code !== 0) throw new Error(stderr);
  const report = JSON.parse(stdout) as { removed: readonly { kind: string; name: string }[] };
  return report.removed.map(({ kind, name }) => `${kind} ${name}`);
}

/** What each backend leaves, as cleanup names it. */
const LEFT: Readonly<Record<string, readonly RegExp[]>> = {
  vxlan: [/^rules nftables table ip flannel-10\.5\.0\.0-16$/, /^device flannel\.1 \(vxlan\)$/],
  udp: [
    /^process \d+, which holds udp-(tun|socket), udp-(tun|socket)$/,
    /^rules nftables table ip flannel-10\.5\.0\.0-16$/,
    /^device flannel0 \(tun\)$/,
  ],
  "host-gw": [
    /^rules iptables-nft -t nat chain FLANNEL-M-10\.5\.0\.0-16$/,
    /^rules iptables-nft -t filter chain FLANNEL-F-10\.5\.0\.0-16$/,
    /^route 10\.5\.\d+\.0\/24 via 192\.168\.77\.2 dev eth0 proto 241$/,
    /^nexthop 241\d{6}$/,
  ],
  alloc: [/^rules nftables table ip flannel-10\.5\.0\.0-16$/],
};

/** One of them has its rules in iptables. */
const firewall = (backend: string) => (backend === "host-gw" ? ["--firewall=iptables"] : []);

for (const [backend, left] of Object.entries(LEFT))
  test(`flannel cleanup leaves a host as it was before the first start, and nothing else goes (${backend})`, async () => {
    await using lab = await Lab.up({
      hosts: 2,
      pods: 0,
      daemons: false,
      backend,
      flags: ["--ip-masq", ...firewall(backend)],
      signal,
    });
    const [a, b] = lab.hosts;
    if (a === undefined || b === undefined) throw new Error("no hosts");
    await a.namespace.ip([
      "route add 10.5.200.0/24 via 192.168.77.254 proto static",
      "route add 10.9.0.0/24 via 192.168.77.254 proto boot",
      "link add flannel.9 type bridge",
    ]);
    // The tables themselves are iptables' and stay.
    if (backend === "host-gw")
      for (const [table, chain] of [
        ["nat", "POSTROUTING"],
        ["filter", "FORWARD"],
      ] as const)
        await a.run(["iptables-nft", "-t", table, "-P", chain, "ACCEPT"]);
    const before = await snapshot(a);
    await b.startDaemon();
    await a.startDaemon();
    await waitUntil(() => backend === "alloc" || a.daemon.log().includes("peer added"), {
      signal,
      within: ceiling(2_000),
      what: "it knows its peer",
    });
    if (backend === "udp")
      await waitUntil(() => existsSync(join(a.stateDirectory, "handover.json")), {
        signal,
        within: ceiling(2_000),
        what: "descriptors are kept",
      });

    const running = await cleanup(a);
    expect(running.code).toBe(1);
    expect(running.stderr).toMatch(
      /a flanneld with the state directory .* is running, pid \d+.*systemctl stop flanneld.*--force/,
    );
    await a.daemon.stop();

    const changed = await snapshot(a);
    expect(changed).not.toBe(before);
    const rehearsed = await removed(a, "--dry-run");
    for (const [index, pattern] of left.entries()) expect(rehearsed[index]).toMatch(pattern);
    expect(rehearsed).toHaveLength(left.length);
    expect(await snapshot(a)).toBe(changed);

    const gone = await removed(a);
    expect(gone).toEqual(backend === "udp" ? rehearsed.slice(0, -1) : rehearsed); // the device goes with the process
    expect(await snapshot(a)).toBe(before);
    expect(processesInNamespaces([a.namespace.path])).toEqual([]);
    expect(existsSync(a.subnetFile)).toBe(true);
    expect((await cleanup(a)).stdout).toMatch(/^left alone\n {2}device {4}flannel\.9 \(bridge\): .*no flannel makes/);

    expect(await removed(a, "--env-files", "--state")).toEqual(
      expect.arrayContaining([
        `file ${a.subnetFile}`,
        `file ${join(a.stateDirectory, "lock")}`,
        `directory ${a.stateDirectory}`,
      ]),
    );
    expect([existsSync(a.subnetFile), existsSync(a.stateDirectory)]).toEqual([false, false]);
  });

test("flannel cleanup keeps the subnet for the next start, which makes everything again", async () => {
  await using lab = await Lab.up({ hosts: 2, backend: "vxlan", signal });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  const subnet = readFileSync(a.subnetFile, "utf8");
  await a.daemon.stop();
  await removed(a, "--env-files");
  expect(await a.run(["ip", "-br", "link"])).not.toContain("flannel");
  await a.startDaemon();
  expect(readFileSync(a.subnetFile, "utf8")).toBe(subnet);
  await untilPing(b.pod, a.pod, ceiling(2_000));
});

test("flannel cleanup removes what 0.7.0 and later releases left, and no administrator's routes", async () => {
  await using lab = await Lab.up({ hosts: 1, pods: 0, daemons: false, signal });
  const [host] = lab.hosts;
  if (host === undefined) throw new Error("no host");
  const before = await snapshot(host);
  await host.namespace.ip([
    // 0.7.0 with vxlan, then with host-gw
    `link add flannel.1 type vxlan id 1 local ${host.address} dev eth0 dstport 8472 nolearning`,
    "addr add 10.5.38.0/32 dev flannel.1",
    "link set flannel.1 up",
    "route add 10.5.0.0/16 dev flannel.1 proto boot scope global",
    "route add 10.5.48.0/24 via 192.168.77.2 dev eth0 proto boot onlink",
    // later releases: another VNI, and --ip-blackhole-route
    `link add flannel-v6.1 type vxlan id 6 local ${host.address} dev eth0 dstport 8473 nolearning`,
    "route add blackhole 10.5.38.0/24 proto boot",
  ]);
  const admins = ["10.5.61.0/25 via 192.168.77.254 dev eth0", "10.8.0.0/24 via 192.168.77.254 dev eth0"];
  await host.namespace.ip(admins.map((route) => `route add ${route}`));
  // Without a file, nobody can say whose the route in eth0 is.
  expect(await removed(host, "--dry-run")).toEqual(["device flannel.1 (vxlan)", "device flannel-v6.1 (vxlan)"]);
  writeFileSync(
    host.subnetFile,
    "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.38.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n",
  );
  const { stdout } = await cleanup(host);
  expect(stdout.split("\n").toSorted()).toEqual(
    [
      "",
      "removed",
      "  route     10.5.38.0/24 proto boot",
      "  route     10.5.48.0/24 via 192.168.77.2 dev eth0 proto boot",
      "  device    flannel-v6.1 (vxlan)",
      "  device    flannel.1 (vxlan)",
    ].toSorted(),
  );
  const routes = await host.run(["ip", "route"]);
  for (const route of admins) expect(routes).toContain(route);
  await host.namespace.ip(admins.map((route) => `route del ${route}`));
  expect(await snapshot(host)).toBe(before);
});
