import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { encodeAddress, formatAddress, parseAddress } from "../../src/ip/address.ts";
import { formatPrefix } from "../../src/ip/prefix.ts";
import { hostAddress, IPV6_UNDERLAY, switchAddress } from "../../src/lab/address-plan.ts";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { launcher } from "../../src/lab/launcher.ts";
import type { Place } from "../../src/lab/place.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { ip6, payload, udp } from "../../src/wire/packet/packets.ts";
import { ceiling, complaints, hostsOf, PATIENCE, untilPing } from "../e2e/hosts.ts";
import { pingDuring } from "../support/pings.ts";
import { PYTHON } from "../support/python.ts";
import { snapshot } from "./snapshot.ts";

const { signal } = new AbortController();
type WithPod = LabHost & { readonly pod: Place };
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
    expect((await a.pod.exec(["ping", "-n", "-c1", "-W10", OUTSIDE])).code).toBe(0);

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
      within: ceiling(2_000),
      what: "the routes of IPv6 are back",
    });
    await untilAllAnswer(lab, mtu);

    await moves(a, b);
    // As Docker and administrators have it.
    await a.run(["ip6tables-nft", "-P", "FORWARD", "DROP"]);
    await b.run(["ip6tables-legacy", "-P", "FORWARD", "DROP"]);
    await untilAllAnswer(lab, mtu);

    if (store === "etcd3") await knowsAnIPv4Host(lab, a);
    expect([...complaints(a), ...complaints(b)]).toEqual([]);
  });

/** Hosts and pods that have IPv6 alone. @param prepare what is done on each host before its daemon starts */
async function ipv6Alone(backend: string, flags: readonly string[], prepare: (host: LabHost) => Promise<void>) {
  const lab = await Lab.up({ hosts: 2, backend, flags, ipv6: "only", daemons: false, signal });
  const before: string[] = [];
  for (const host of lab.hosts) {
    await host.namespace.ip([`addr del ${host.address}/24 dev eth0`]);
    await prepare(host);
    before.push(await snapshot(host));
    await host.startDaemon();
    await host.addPod();
  }
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  expect(readFileSync(a.subnetFile, "utf8")).toMatch(
    /^FLANNEL_IPV6_NETWORK=fd00:5::\/48\nFLANNEL_IPV6_SUBNET=fd00:5:0:[0-9a-f]+::1\/64\nFLANNEL_MTU=\d+\nFLANNEL_IPMASQ=(?:true|false)\n$/,
  );
  return { lab, a, b, before: before[0], [Symbol.asyncDispose]: () => lab.down() };
}

/** Ends the daemon, removes the pod, and cleans up. @returns what of sysctls was put back */
async function cleanUp(host: LabHost): Promise<readonly string[]> {
  await host.daemon.stop();
  await host.namespace.ip(["link del p1", "link del cni0"]);
  const files = [`--state-dir=${host.stateDirectory}`, `--subnet-file=${host.subnetFile}`, "--subnet-dir=/nowhere"];
  const report = JSON.parse(await host.run([launcher("flannel"), "cleanup", "--json", ...files])) as {
    readonly removed: readonly { readonly kind: string; readonly name: string }[];
  };
  return report.removed.flatMap(({ kind, name }) => (kind === "sysctl" ? [name] : []));
}

test("flanneld connects hosts and pods that have IPv6 alone, by host-gw, follows address and MTU, and flannel cleanup leaves nothing of it", async () => {
  await using hosts = await ipv6Alone("host-gw", ["--ip-masq"], async () => {});
  const { lab, a, b, before } = hosts;
  await untilAllAnswer(lab, 1500);
  await moves(a, b);
  await changesMtu(a, b, 0);
  expect(lab.hosts.flatMap(complaints)).toEqual([]);
  expect(await cleanUp(a)).toEqual([]);
  await a.namespace.ip(addressChange(NEXT, underlayAddress(a)));
  expect(await snapshot(a)).toBe(before);
});

test("flanneld connects hosts and pods that have IPv6 alone, by vxlan: it sets what is wrong, keeps strangers out, follows address and MTU, names who stops it, and is cleaned up", async () => {
  const setting = (host: LabHost, name: string) => host.run(["sysctl", "-n", `net.ipv6.conf.${name}`]);
  await using hosts = await ipv6Alone("vxlan", ["--configure-host"], (host) =>
    host.namespace.sysctl(0, "net/ipv6/conf/all/forwarding"),
  );
  const { lab, a, b, before: beforehand } = hosts;
  await untilAllAnswer(lab, 1430);
  expect([await setting(a, "all.forwarding"), await setting(a, "eth0.accept_ra")]).toEqual(["1\n", "2\n"]);
  expect(a.daemon.log()).toMatch(
    /changed a setting of this host.* sysctl="net\.ipv6\.conf\.all\.forwarding = 1" was=0/,
  );

  // That these datagrams would reach the pod is shown by a peer that sends them.
  const ours = ["ip6", "flannel-fd00_5__-48"];
  const refused = async () =>
    Number(/packets (\d+)/.exec(await a.run(["nft", "list", "counter", ...ours, "refused"]))?.[1]);
  const peers = (host: LabHost) => host.run(["nft", "list", "set", ...ours, "peers"]);
  await waitUntil(async () => (await a.exec(["nft", "list", "chain", ...ours, "input"])).code === 0, {
    signal,
    within: PATIENCE,
    what: "the chain stands",
  });
  const received = async () =>
    Number(/Udp6NoPorts\s+(\d+)/.exec(await a.pod.run(["nstat", "-asz", "Udp6NoPorts"]))?.[1]);
  const address = underlayAddress(a);
  const inject = async (from: Pick<LabHost, "run">) =>
    await from.run([PYTHON, "-c", SEND, address, await vxlanDatagram(a, a.pod.address)]);
  const before = await received();
  await inject(b);
  await waitUntil(async () => (await received()) === before + DATAGRAMS, {
    signal,
    within: PATIENCE,
    what: "a peer's datagrams reach the pod",
  });
  expect(await refused()).toBe(0);
  await inject(lab.switch.namespace);
  await waitUntil(async () => (await refused()) === DATAGRAMS, {
    signal,
    within: PATIENCE,
    what: "a stranger's datagrams are refused",
  });
  expect(await received()).toBe(before + DATAGRAMS);

  await moves(a, b);
  expect(await a.run(["ip", "-d", "link", "show", "flannel-v6.1"])).toContain(`local ${NEXT} dev eth0`);
  await waitUntil(async () => (await peers(b)).includes(`elements = { ${NEXT} }`), {
    signal,
    within: SOON,
    what: "the new address alone is let in", // the former one goes when nothing is sent to it any more
  });
  await changesMtu(a, b, 70);
  expect(lab.hosts.flatMap(complaints).filter((line) => !line.includes("came from no peer"))).toEqual([]);
  await namesWhatStops(b);

  expect(await cleanUp(a)).toContain("net.ipv6.conf.all.forwarding = 1, was 0");
  await a.namespace.ip(addressChange(NEXT, address));
  expect(await snapshot(a)).toBe(beforehand);
});

/** What a host's address becomes. */
const NEXT = "fd00:77::201";
const SOON = ceiling(5_000);

/** Replaces a host's IPv6 address: the other host sends to the new one, pods reach each other by IPv6 again, with the same subnets. */
async function moves(host: WithPod, other: WithPod): Promise<void> {
  const env = readFileSync(host.subnetFile, "utf8");
  const former = underlayAddress(host);
  await host.namespace.ip(addressChange(former, NEXT));
  const shown = [
    ["bridge", "fdb"],
    ["ip", "-6", "route"],
    ["ip", "-6", "nexthop"],
  ];
  await waitUntil(
    async () => {
      const rows = (await Promise.all(shown.map((argv) => other.run(argv)))).join("");
      return rows.includes(` ${NEXT} `) && !rows.includes(` ${former} `);
    },
    { signal, within: SOON, what: `${other.name} sends to ${NEXT}` },
  );
  await answersByIPv6(other, host);
  await answersByIPv6(host, other);
  expect(readFileSync(host.subnetFile, "utf8")).toBe(env);
}

/** Gives eth0 of a host a smaller MTU, a larger one, and that of the lab again. @param overhead what the backend takes of it */
async function changesMtu(host: WithPod, other: WithPod, overhead: number): Promise<void> {
  for (const mtu of [1400, 9000, 1500]) {
    await host.namespace.ip([`link set eth0 mtu ${mtu}`]);
    const left = mtu - overhead;
    await waitUntil(() => readFileSync(host.subnetFile, "utf8").includes(`FLANNEL_MTU=${left}\n`), {
      signal,
      within: SOON,
      what: `${host.name}'s subnet.env says ${left}`,
    });
    if (overhead > 0) expect(await host.run(["ip", "link", "show", "flannel-v6.1"])).toContain(` mtu ${left} `);
    await answersByIPv6(other, host);
  }
}

/** A rule of somebody's in ip6tables keeps other hosts' packets out, for a while. */
async function namesWhatStops(host: LabHost): Promise<void> {
  const said = (text: string) =>
    waitUntil(() => host.daemon.log().includes(text), { signal, within: 60_000, what: `the log says ${text}` });
  const rule = "INPUT -p udp -m udp --dport 8472 -j DROP";
  await host.run(["ip6tables-legacy", "-A", ...rule.split(" ")]);
  await said(
    `the overlay needs this UDP port network=fd00:5::/48 port=8472 table="ip6tables-legacy filter" chain=INPUT rule="-A ${rule}"`,
  );
  await host.run(["ip6tables-legacy", "-D", ...rule.split(" ")]);
  await said("nobody's rule stops packets of other hosts to this one any more network=fd00:5::/48 port=8472");
}

async function answersByIPv6(from: WithPod, to: WithPod): Promise<void> {
  const { title, address, ipv6 = address } = to.pod;
  await untilPing(from.pod, { title, address: ipv6 }, SOON);
}

/** As commands of `ip`; without asking first whether it is another's, which takes a second. */
function addressChange(from: string, to: string): readonly string[] {
  return [`addr del ${from}/64 dev eth0`, `addr add ${to}/64 dev eth0 nodad`];
}

const DATAGRAMS = 100;

/** Sends a datagram to vxlan's port many times; argv are the host and the datagram in hex. */
const SEND = `
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for _ in range(${DATAGRAMS}):
    s.sendto(bytes.fromhex(sys.argv[2]), (sys.argv[1], 8472))`;

/** Our VNI, a frame to the host's device, and in it a packet to a port of the pod's where nobody listens; in hex. RFC 7348 §5. */
async function vxlanDatagram(host: LabHost, pod: string): Promise<string> {
  const mac = /link\/ether (\S+)/.exec(await host.run(["ip", "link", "show", "flannel-v6.1"]))?.[1] ?? "";
  const inner = ip6(udp(payload(30), { destinationPort: 4242 }), {
    source: [...encodeAddress(parseAddress("fd00:5:0:fff0::9"))],
    destination: [...encodeAddress(parseAddress(pod))],
  });
  return `0800000000000100${mac.replaceAll(":", "")}02000000009986dd${Buffer.from(inner).toString("hex")}`;
}

function underlayAddress(host: LabHost): string {
  return formatAddress(hostAddress(IPV6_UNDERLAY, Number(host.name.slice(1))));
}

/** By every family that there is, with packets as large as pods may send. */
async function untilAllAnswer(lab: Lab, size: number): Promise<void> {
  await waitUntil(async () => (await lab.ping({ size })).every(({ time }) => time !== undefined), {
    signal,
    within: PATIENCE,
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
