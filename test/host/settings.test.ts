import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ExternalInterface } from "../../src/backend/backend.ts";
import { AF_INET6, close, SOCK_RAW, sendto, setIntegerOption, socket } from "../../src/kernel/libc.ts";
import { openKernel } from "../../src/kernel/linux-kernel.ts";
import { inNamespace } from "../../src/kernel/namespace.ts";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { launcher } from "../../src/lab/launcher.ts";
import type { Place } from "../../src/lab/place.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { parseNetworkConfig } from "../../src/lease/network-config.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { cleanUp } from "../../src/network/cleanup/clean-up.ts";
import { settingsLeftovers } from "../../src/network/cleanup/settings-leftovers.ts";
import { hostSettings } from "../../src/network/settings/needs.ts";
import { readNeeds } from "../../src/network/settings/read-needs.ts";
import { SettingsRecord } from "../../src/network/settings/settings-record.ts";
import { SettingsTable } from "../../src/network/settings/settings-table.ts";
import { ceiling, complaints, hostsOf, PATIENCE, untilPing } from "../e2e/hosts.ts";

const { signal } = new AbortController();
const WITHIN = ceiling(2_000);

let lab: Lab;
let a: LabHost & { readonly pod: Place };
let b: LabHost & { readonly pod: Place };

beforeAll(async () => {
  lab = await Lab.up({ hosts: 2, backend: "vxlan", signal });
  [a, b] = hostsOf(lab, 2) as [typeof a, typeof b];
  await a.daemon.stop();
  await a.namespace.sysctl(1, "net/ipv4/conf/all/rp_filter");
});
afterAll(() => lab?.down());

async function becomes(key: string, value: string): Promise<void> {
  await waitUntil(async () => (await a.run(["sysctl", "-n", key])).trim() === value, {
    signal,
    within: WITHIN,
    what: `${key} is ${value}`,
  });
}

test("flanneld names the rp_filter that keeps a remote pod from this host's own address, and changes nothing", async () => {
  await a.startDaemon();
  await waitUntil(() => complaints(a).length > 0, { signal, within: PATIENCE, what: "the daemon warns" });
  expect(complaints(a).join("\n")).toMatch(
    /this host drops packets between pods and other hosts' own addresses sysctl="net\.ipv4\.conf\.eth0\.rp_filter = 0 \(all: 1\)" remedy="--configure-host, or sysctl -w net\.ipv4\.conf\.eth0\.rp_filter=2"/,
  );
  await untilPing(b.pod, a.pod);
  await untilPing(b.pod, a, PATIENCE, false);
  expect(await a.run(["sysctl", "-n", "net.ipv4.conf.eth0.rp_filter"])).toBe("0\n");
});

test("flanneld --configure-host sets what is wrong, keeps it so, and remembers what it was", async () => {
  await a.daemon.stop();
  await a.namespace.sysctl(0, "net/ipv4/ip_forward");
  const said = complaints(a).length;
  a.daemon.argv = [...a.daemon.argv, "--configure-host"];
  await a.startDaemon();
  await becomes("net.ipv4.ip_forward", "1");
  await untilPing(b.pod, a);
  await untilPing(b.pod, a.pod);
  for (const [key, wrong, right] of [
    ["net/ipv4/ip_forward", 0, "1"],
    ["net/ipv4/conf/flannel.1/rp_filter", 1, "2"],
    ["net/ipv4/conf/flannel.1/forwarding", 0, "1"],
  ] as const) {
    await a.namespace.sysctl(wrong, key);
    await becomes(key, right);
  }
  expect(a.daemon.log()).toMatch(/changed a setting of this host.* sysctl="net\.ipv4\.ip_forward = 1" was=0/);
  expect(a.daemon.log()).toMatch(/repairing rows that were changed by others table="host settings"/);
  expect(complaints(a).slice(said)).toEqual([]);
  // The device is made anew: its values are the kernel's again.
  await a.namespace.ip(["link del flannel.1"]);
  await becomes("net/ipv4/conf/flannel.1/rp_filter", "2");
  const record = JSON.parse(readFileSync(join(a.stateDirectory, "sysctls.json"), "utf8"));
  expect(record.changed).toEqual(
    expect.arrayContaining([
      { key: "net/ipv4/ip_forward", found: "0", set: "1" },
      { key: "net/ipv4/conf/eth0/rp_filter", found: "0", set: "2" },
    ]),
  );
});

test("flannel cleanup leaves alone a setting that somebody else has changed since", async () => {
  await a.daemon.stop();
  await a.namespace.sysctl(1, "net/ipv4/conf/eth0/rp_filter");
  const files = [`--state-dir=${a.stateDirectory}`, `--subnet-file=${a.subnetFile}`, "--subnet-dir=/nowhere"];
  const { removed, leftAlone } = JSON.parse(await a.run([launcher("flannel"), "cleanup", "--json", ...files]));
  expect(removed).toContainEqual({ kind: "sysctl", name: "net.ipv4.ip_forward = 1, was 0" });
  expect(leftAlone).toEqual([
    {
      kind: "sysctl",
      name: "net.ipv4.conf.eth0.rp_filter = 1, was 0",
      reason: "flannel set it to 2; somebody else has changed it since",
    },
  ]);
  expect(await a.run(["sysctl", "-n", "net.ipv4.ip_forward", "net.ipv4.conf.eth0.rp_filter"])).toBe("0\n1\n");
});

test("SettingsTable turns IPv6 forwarding on without the loss of the default route that a router advertised, and all is put back", async () => {
  using kernel = openKernel({ namespace: a.namespace.path });
  const options = { signal };
  const index = Number(await b.run(["cat", "/sys/class/net/eth0/ifindex"]));
  await waitUntil(
    async () => {
      advertise(b.namespace.path, index);
      return (await a.run(["ip", "-6", "route", "show", "default"])).includes("proto ra");
    },
    { signal, within: PATIENCE, what: "it has a default route" },
  );
  const settings = () => a.run(["sh", "-c", "sysctl -a 2>/dev/null | grep -E 'forwarding|accept_r'"]);
  const before = await settings();
  const config = parseNetworkConfig(
    '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/64","Backend":{"Type":"host-gw"}}',
  );
  const external = { link: { name: "lo" } } as ExternalInterface; // the route leads elsewhere
  const needs = await readNeeds(kernel, { external, config, links: [], hasServices: false }, options);
  expect(needs.routed).toEqual(["eth0"]);
  const record = await SettingsRecord.open(join(a.directory, "by-hand"));
  const table = new SettingsTable(hostSettings(needs), { kernel, record, logger: silentLogger });
  const found = new Map((await table.list(options)).map((row) => [row.key, row]));
  const puts = table.rows.filter((row) => !table.equal(row, found.get(row.key) ?? row));
  expect(await table.apply({ puts, removals: [] }, options)).toEqual([]);
  expect(await a.run(["ip", "-6", "route", "show", "default"])).toContain("proto ra");
  expect(await a.run(["sysctl", "-n", "net.ipv6.conf.eth0.forwarding", "net.ipv6.conf.eth0.accept_ra"])).toBe("1\n2\n");
  const { failed } = await cleanUp([settingsLeftovers(kernel, record)], { isRehearsal: false, ...options });
  expect(failed).toEqual([]);
  expect(await settings()).toBe(before);
  expect(await a.run(["ip", "-6", "route", "show", "default"])).toContain("proto ra");
});

/** A router's advertisement to all hosts on the link, RFC 4861 §4.2; the kernel adds the checksum. */
function advertise(namespace: string, linkIndex: number): void {
  const packet = new Uint8Array(16);
  const view = new DataView(packet.buffer);
  packet[0] = ROUTER_ADVERTISEMENT;
  view.setUint16(6, 1800); // seconds
  const to = new Uint8Array(28); // struct sockaddr_in6
  new DataView(to.buffer).setUint16(0, AF_INET6, true);
  to.set([0xff, 0x02], 8);
  to[23] = 1;
  inNamespace(namespace, () => {
    const fd = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
    try {
      setIntegerOption(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 255);
      setIntegerOption(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, linkIndex);
      sendto(fd, packet, 0, to);
    } finally {
      close(fd);
    }
  });
}

const ROUTER_ADVERTISEMENT = 134;
const IPPROTO_IPV6 = 41;
const IPPROTO_ICMPV6 = 58;
const IPV6_MULTICAST_IF = 17;
const IPV6_MULTICAST_HOPS = 18;
