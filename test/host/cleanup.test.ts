import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { launcher } from "../../src/lab/launcher.ts";
import type { Place } from "../../src/lab/place.ts";
import { processesInNamespaces } from "../../src/lab/processes.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { hostsOf, PATIENCE, untilPing } from "../e2e/hosts.ts";
import { FLAVOURS, type Flavour } from "../firewall/flavours.ts";
import { snapshot } from "./snapshot.ts";

const { signal } = new AbortController();

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

interface Case {
  readonly backend: string;
  readonly families: "IPv4" | "both families";
}

const CASES: readonly Case[] = [
  { backend: "vxlan", families: "IPv4" },
  { backend: "vxlan", families: "both families" },
  { backend: "udp", families: "IPv4" },
  { backend: "host-gw", families: "both families" },
  { backend: "alloc", families: "both families" },
];

/** What each backend leaves besides rules, as cleanup names it. */
function leftBy({ backend, families }: Case): readonly RegExp[] {
  const isDual = families !== "IPv4";
  switch (backend) {
    case "vxlan":
      return [/^device flannel\.1 \(vxlan\)$/, ...(isDual ? [/^device flannel-v6\.1 \(vxlan\)$/] : [])];
    case "udp":
      return [/^device flannel0 \(tun\)$/];
    case "host-gw":
      return [
        /^route 10\.5\.\d+\.0\/24 via 192\.168\.77\.\d dev eth0 proto 241$/,
        ...(isDual ? [/^route fd00:5:0:[0-9a-f]+::\/64 via fd00:77::\d dev eth0 proto 241$/] : []),
        /^nexthop 241\d{6}$/,
      ];
    default:
      return [];
  }
}

/** What each packet filter holds. */
function rulesOf(name: string, network: string): readonly RegExp[] {
  if (name === "nftables") {
    const table = network.includes("fd00") ? "ip6" : "ip";
    return [RegExp(`^rules nftables table ${table} flannel-${network}$`)];
  }
  const program = network.includes("fd00") ? name.replace("iptables", "ip6tables") : name;
  return [
    RegExp(`^rules ${program} -t nat chain FLANNEL-M-${network}$`),
    RegExp(`^rules ${program} -t filter chain FLANNEL-F-${network}$`),
  ];
}

/** Which settings `--configure-host` changes on hosts that are hardened as below. */
function settingsOf({ backend, families }: Case): readonly RegExp[] {
  const isTunnel = backend === "vxlan" || backend === "udp";
  const filter = isTunnel ? [/^sysctl net\.ipv4\.conf\.eth0\.rp_filter = 2, was 0$/] : [];
  const ipv6 =
    families === "IPv4"
      ? []
      : [
          /^sysctl net\.ipv6\.conf\.all\.forwarding = 1, was 0$/,
          /^sysctl net\.ipv6\.conf\.eth0\.accept_ra = 2, was 1$/,
        ];
  return [...filter, ...ipv6, /^sysctl net\.ipv4\.ip_forward = 1, was 0$/];
}

function leftOn({ name }: Flavour, each: Case): readonly RegExp[] {
  const networks = ["10\\.5\\.0\\.0-16", ...(each.families === "IPv4" ? [] : ["fd00_5__-48"])];
  const rules = networks.flatMap((network) => rulesOf(name, network));
  // Admission of vxlan is nftables' business, whatever masquerades.
  const admission =
    each.backend === "vxlan" && name !== "nftables" ? networks.flatMap((network) => rulesOf("nftables", network)) : [];
  const processes = each.backend === "udp" ? [/^process \d+, which holds udp-(tun|socket), udp-(tun|socket)$/] : [];
  return [...processes, ...rules, ...admission, ...leftBy(each), ...settingsOf(each)];
}

/** As an administrator may have left it; none of it is what flannel or the kernel would leave. */
async function harden(host: Place, flavour: Flavour): Promise<void> {
  await flavour.prepare(host);
  // The tables themselves are iptables' and stay.
  if (flavour.name !== "nftables")
    for (const program of [flavour.iptables, flavour.iptables.replace("iptables", "ip6tables")])
      for (const [table, chain] of [
        ["nat", "POSTROUTING"],
        ["filter", "FORWARD"],
      ] as const)
        await host.run([program, "-t", table, "-P", chain, "ACCEPT"]);
  await host.namespace.ip([
    "route add 10.5.0.128/25 via 192.168.77.254 proto static", // of the Network, where no subnet is leased
    "route add 10.9.0.0/24 via 192.168.77.254 proto boot",
    "link add flannel.9 type bridge",
    "link add br9 type bridge",
  ]);
  await host.namespace.sysctl(0, "net/ipv6/conf/all/forwarding");
  await host.namespace.sysctl(0, "net/ipv4/ip_forward"); // first, since others go along with it
  await host.namespace.sysctl(1, "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/br9/forwarding");
  await host.namespace.sysctl(0, "net/ipv4/conf/all/accept_redirects");
}

describe("on hosts with one kind of packet filter each", () => {
  let lab: Lab;
  let peer: LabHost;
  let hosts: readonly { readonly host: LabHost; readonly flavour: Flavour; readonly before: string }[];

  beforeAll(async () => {
    const flags = ["--ip-masq", "--configure-host"];
    lab = await Lab.up({ hosts: 1 + FLAVOURS.length, pods: 0, daemons: false, flags, ipv6: "too", signal });
    const [first, ...others] = lab.hosts;
    if (first === undefined) throw new Error("no hosts");
    peer = first;
    hosts = await Promise.all(
      FLAVOURS.map(async (flavour, index) => {
        const host = others[index];
        if (host === undefined) throw new Error("no host");
        await harden(host, flavour);
        return { host, flavour, before: await snapshot(host) };
      }),
    );
  });
  afterAll(() => lab?.down());

  /** Starts and stops it, cleans up, and compares. */
  async function cycle({ host, flavour, before }: (typeof hosts)[number], each: Case): Promise<void> {
    const { backend } = each;
    await host.startDaemon();
    await waitUntil(() => backend === "alloc" || host.daemon.log().includes("peer added"), {
      signal,
      within: PATIENCE,
      what: "it knows its peer",
    });
    if (backend === "udp")
      await waitUntil(() => existsSync(join(host.stateDirectory, "handover.json")), {
        signal,
        within: PATIENCE,
        what: "descriptors are kept",
      });
    if (flavour === FLAVOURS[0]) {
      const running = await cleanup(host);
      expect(running.code).toBe(1);
      expect(running.stderr).toMatch(
        /a flanneld with the state directory .* is running, pid \d+.*systemctl stop flanneld.*--force/,
      );
    }
    await host.daemon.stop();

    const changed = await snapshot(host);
    expect(changed).not.toBe(before);
    const left = leftOn(flavour, each);
    const rehearsed = await removed(host, "--dry-run");
    // One or several of each, in this order: host-gw has a route and a nexthop per host.
    const kinds = rehearsed.map((row) => left.findIndex((pattern) => pattern.test(row)));
    expect([...new Set(kinds)], rehearsed.join("\n")).toEqual([...left.keys()]);
    expect(await snapshot(host)).toBe(changed);

    const gone = await removed(host);
    expect(gone).toEqual(rehearsed.filter((row) => !row.startsWith("device flannel0"))); // it goes with the process
    expect(await snapshot(host)).toBe(before);
    expect(processesInNamespaces([host.namespace.path])).toEqual([]);
    expect(existsSync(host.subnetFile)).toBe(true);
  }

  test.each(CASES)(
    "flannel cleanup leaves a host as it was before the first start, its settings too, and nothing else goes ($backend, $families)",
    async (each) => {
      await lab.setConfig({ EnableIPv6: each.families !== "IPv4", Backend: { Type: each.backend } });
      await peer.startDaemon();
      try {
        await Promise.all(hosts.map((host) => cycle(host, each)));
      } finally {
        await peer.daemon.stop();
      }
    },
  );

  test("flannel cleanup says what it leaves alone, and removes what it remembers if asked", async () => {
    const [{ host } = { host: peer }] = hosts;
    expect((await cleanup(host)).stdout).toMatch(
      /^left alone\n {2}device {4}flannel\.9 \(bridge\): .*no flannel makes/,
    );
    expect(await removed(host, "--env-files", "--state")).toEqual(
      expect.arrayContaining([
        `file ${host.subnetFile}`,
        `file ${join(host.stateDirectory, "lock")}`,
        `directory ${host.stateDirectory}`,
      ]),
    );
    expect([existsSync(host.subnetFile), existsSync(host.stateDirectory)]).toEqual([false, false]);
  });
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
  await untilPing(b.pod, a.pod);
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
