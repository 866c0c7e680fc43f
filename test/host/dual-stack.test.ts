import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { formatAddress } from "../../src/ip/address.ts";
import { formatPrefix } from "../../src/ip/prefix.ts";
import { IPV6_UNDERLAY, switchAddress } from "../../src/lab/address-plan.ts";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { ceiling, complaints, hostsOf } from "../e2e/hosts.ts";
import { pingDuring } from "../support/pings.ts";

const { signal } = new AbortController();
/** The switch: beyond the overlay, and without a way back into it. */
const OUTSIDE = formatAddress(switchAddress(IPV6_UNDERLAY));

for (const { backend, store, mtu } of [
  { backend: "vxlan", store: "etcd3", mtu: 1430 },
  { backend: "host-gw", store: "embedded", mtu: 1500 },
] as const)
  test(`flanneld connects pods by both families, ${backend} on ${store}: whole packets, restarts, repair, masquerading`, async () => {
    await using lab = await Lab.up({ hosts: 3, backend, store, ipv6: "too", flags: ["--ip-masq"], signal });
    const [a, b] = hostsOf(lab, 3);
    if (a === undefined || b === undefined) throw new Error("no hosts");
    await untilAllAnswer(lab, mtu);
    const { subnet, ipv6 } = a.subnetEnv();
    expect(readFileSync(a.subnetFile, "utf8")).toBe(
      `FLANNEL_NETWORK=10.5.0.0/16
FLANNEL_SUBNET=${formatPrefix(subnet)}
FLANNEL_IPV6_NETWORK=fd00:5::/48
FLANNEL_IPV6_SUBNET=${formatPrefix(ipv6?.subnet ?? subnet)}
FLANNEL_MTU=${mtu}
FLANNEL_IPMASQ=true
`,
    );
    expect((await a.pod.exec(["ping", "-n", "-c1", "-W2", OUTSIDE])).code).toBe(0);

    const to = a.pod.ipv6 ?? "";
    const before = readFileSync(a.subnetFile, "utf8");
    const { lost } = await pingDuring(b.pod, { to, signal }, async () => {
      for (const how of ["SIGTERM", "SIGKILL", "SIGKILL"] as const) await a.daemon.restart(how, { signal });
    });
    expect(lost).toBe(0);
    expect(readFileSync(a.subnetFile, "utf8")).toBe(before);

    const routes = await ipv6Routes(a);
    const one = routes.find((route) => route.includes(" via ")) ?? "";
    if (backend === "vxlan") await a.namespace.ip(["link del flannel-v6.1"]);
    else await a.namespace.ip([`route del ${one.split(" ")[0]}`]);
    await waitUntil(async () => (await ipv6Routes(a)).toSorted().join() === routes.toSorted().join(), {
      signal,
      within: ceiling(1_000),
      what: "the routes of IPv6 are back",
    });
    await untilAllAnswer(lab, mtu);

    if (store === "etcd3") await knowsAnIPv4Host(lab, a);
    expect([...complaints(a), ...complaints(b)]).toEqual([]);
  });

test("flanneld connects hosts and pods that have IPv6 alone", async () => {
  for (const backend of ["vxlan", "host-gw"]) {
    await using lab = await Lab.up({ hosts: 2, backend, ipv6: "only", daemons: false, signal });
    for (const host of lab.hosts) {
      await host.namespace.ip([`addr del ${host.address}/24 dev eth0`]);
      await host.startDaemon();
      await host.addPod();
    }
    await untilAllAnswer(lab, backend === "vxlan" ? 1430 : 1500);
    const [a] = hostsOf(lab, 2);
    expect(readFileSync(a?.subnetFile ?? "", "utf8")).toMatch(
      /^FLANNEL_IPV6_NETWORK=fd00:5::\/48\nFLANNEL_IPV6_SUBNET=fd00:5:0:[0-9a-f]+::1\/64\nFLANNEL_MTU=\d+\nFLANNEL_IPMASQ=false\n$/,
    );
    expect(lab.hosts.flatMap(complaints)).toEqual([]);
  }
});

/** By every family that there is, with packets as large as pods may send. */
async function untilAllAnswer(lab: Lab, size: number): Promise<void> {
  await waitUntil(async () => (await lab.ping({ size })).every(({ time }) => time !== undefined), {
    signal,
    within: ceiling(4_000),
    what: "all pods reach each other",
  });
}

/** A host of 0.7.0 writes nothing of IPv6; it is reached by IPv4 as ever. */
async function knowsAnIPv4Host(lab: Lab, host: LabHost): Promise<void> {
  const value = '{"PublicIP":"192.168.77.99","BackendType":"vxlan","BackendData":{"VtepMAC":"66:72:44:0d:7e:99"}}';
  await lab.store.etcdctl("put", "/coreos.com/network/subnets/10.5.250.0-24", value);
  await waitUntil(
    async () => /^10\.5\.250\.0\/24 .*via 10\.5\.250\.0 dev flannel\.1/m.test(await host.run(["ip", "route"])),
    {
      signal,
      within: ceiling(1_000),
      what: "there is a route to the host that has IPv4 alone",
    },
  );
}

async function ipv6Routes(host: LabHost): Promise<readonly string[]> {
  const text = await host.run(["ip", "-6", "route", "show"]);
  return text.split("\n").flatMap((line) => (line.startsWith("fd00:5:") ? line.replace(/ nhid \d+/, "") : []));
}
