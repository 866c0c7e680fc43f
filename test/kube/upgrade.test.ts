// From another flannel's DaemonSet to ours, in place: what a later release leaves on the nodes and in their annotations is gone on with.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { LabHost } from "../../src/lab/lab-host.ts";
import type { Place } from "../../src/lab/place.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { manifestConfigList, Runtime } from "../cni/runtime.ts";
import { complaints, untilPing } from "../e2e/hosts.ts";
import { pingDuring } from "../support/pings.ts";
import { annotations } from "./annotations.ts";
import type { KubeObject } from "./api/objects.ts";
import { Cluster } from "./cluster.ts";

const { signal } = new AbortController();
const NETWORK = "10.5.0.0/16";

/** A node that runs a later release. */
interface Node {
  readonly host: LabHost;
  readonly mac: string;
  /** Without its length: `10.5.1.0`. */
  readonly subnet: string;
}

type Backend = "vxlan" | "host-gw";

/** What a later release's daemon leaves in the kernel and in its file, by `later-releases` of the specification. */
async function likeLater({ host, mac, subnet }: Node, peers: readonly Node[], backend: Backend): Promise<void> {
  if (backend === "vxlan") {
    await host.namespace.ip([
      `link add flannel.1 address ${mac} type vxlan id 1 local ${host.address} dev eth0 dstport 8472 nolearning`,
      `addr add ${subnet}/32 dev flannel.1`,
      "link set flannel.1 up",
      ...peers.flatMap((peer) => [
        `neigh add ${peer.subnet} lladdr ${peer.mac} dev flannel.1 nud permanent`,
        `route add ${peer.subnet}/24 via ${peer.subnet} dev flannel.1 onlink`,
      ]),
    ]);
    for (const peer of peers)
      await host.run([
        "bridge",
        "fdb",
        "add",
        peer.mac,
        "dev",
        "flannel.1",
        "dst",
        peer.host.address,
        "self",
        "permanent",
      ]);
  } else await host.namespace.ip(peers.map((peer) => `route add ${peer.subnet}/24 via ${peer.host.address} dev eth0`));
  await host.run(["iptables-nft-restore", "--noflush"], { input: rulesOfLater(subnet) });
  const env = { NETWORK, SUBNET: subnet.replace(/0$/, "1/24"), MTU: backend === "vxlan" ? 1450 : 1500, IPMASQ: true };
  writeFileSync(
    host.subnetFile,
    Object.entries(env)
      .map(([name, value]) => `FLANNEL_${name}=${value}\n`)
      .join(""),
  );
}

/** `--ip-masq` and the rules of FORWARD, whose policy something else has made DROP. */
function rulesOfLater(subnet: string): string {
  const masq = '-m comment --comment "flanneld masq"';
  const forward = '-m comment --comment "flanneld forward"';
  return `*nat
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING ${masq} -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 ${masq} -j RETURN
-A FLANNEL-POSTRTG -s ${subnet}/24 -d ${NETWORK} ${masq} -j RETURN
-A FLANNEL-POSTRTG -s ${NETWORK} -d ${subnet}/24 ${masq} -j RETURN
-A FLANNEL-POSTRTG ! -s ${NETWORK} -d ${subnet}/24 ${masq} -j RETURN
-A FLANNEL-POSTRTG -s ${NETWORK} ! -d 224.0.0.0/4 ${masq} -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s ${NETWORK} -d ${NETWORK} ${masq} -j MASQUERADE --random-fully
COMMIT
*filter
:FORWARD DROP [0:0]
:FLANNEL-FWD - [0:0]
-A FORWARD ${forward} -j FLANNEL-FWD
-A FLANNEL-FWD -s ${NETWORK} ${forward} -j ACCEPT
-A FLANNEL-FWD -d ${NETWORK} ${forward} -j ACCEPT
COMMIT
`;
}

/** A pod as the plugin of later releases made it: the record has nothing of ours. */
async function podOfLater(runtime: Runtime, host: LabHost, id: string): Promise<Place> {
  const pod = await runtime.addPod(id);
  const path = join(host.directory, "cni", id);
  const { "flannel/ifname": _, ...theirs } = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
  writeFileSync(path, JSON.stringify(theirs));
  return pod;
}

/** A cluster of two nodes with a later release, whose daemons were just ended by a rollout. */
async function clusterOfLater(cluster: Cluster, backend: Backend) {
  const macs = ["0a:58:0a:05:01:00", "0a:58:0a:05:02:00"];
  const nodes: Node[] = [];
  for (const mac of macs) {
    const host = await cluster.lab.addHost();
    cluster.setUp(host);
    nodes.push({ host, mac, subnet: `10.5.${host.name.slice(1)}.0` });
  }
  for (const node of nodes) {
    const { host, mac, subnet } = node;
    await likeLater(node, nodes.filter((peer) => peer !== node), backend); // biome-ignore format: one line
    const data = backend === "vxlan" ? JSON.stringify({ VNI: 1, VtepMAC: mac }) : "null";
    const time = "2026-01-01T00:00:00Z";
    const condition = {
      type: "NetworkUnavailable",
      status: "False",
      reason: "FlannelIsUp",
      message: "Flannel is running on this node",
      lastHeartbeatTime: time,
      lastTransitionTime: time,
    };
    await cluster.api.call("addNode", host.name, [`${subnet}/24`], { status: { conditions: [condition] } });
    await cluster.api.call(
      "annotate",
      host.name,
      annotations(host.address, { "backend-type": backend, "backend-data": data }),
    );
  }
  return nodes;
}

for (const backend of ["vxlan", "host-gw"] as const)
  test(`flanneld takes a later release's DaemonSet over in place, ${backend}: no pod loses a ping, also when it is killed and upgraded`, async () => {
    await using cluster = await Cluster.up({ hosts: 0, backend, network: NETWORK, flags: ["--ip-masq"], signal });
    const [a, b] = await clusterOfLater(cluster, backend);
    if (a === undefined || b === undefined) throw new Error("no hosts");
    const runtimes = [a, b].map(({ host }) => new Runtime(cluster.lab, host, manifestConfigList(host)));
    const [onA, onB] = runtimes;
    if (onA === undefined || onB === undefined) throw new Error("no runtimes");
    const pod = await podOfLater(onA, a.host, "before");
    const other = await podOfLater(onB, b.host, "before");
    await untilPing(other, pod);
    const nodeOf = async ({ host }: Node) => (await cluster.api.call("node", host.name)) as KubeObject;
    const before = await Promise.all([a, b].map(nodeOf));

    // One node after the other, as a rollout does: the first to be ours works together with one that is not yet.
    for (const node of [a, b]) {
      const { lost, missing } = await pingDuring(other, { to: pod.address, signal }, async () => {
        await node.host.startDaemon();
        await waitUntil(async () => !(await node.host.run(["iptables-nft-save"])).includes("FLANNEL-POSTRTG"), {
          signal,
          within: 30_000,
          what: "rules of the later release are gone",
        });
      });
      expect({ node: node.host.name, lost, missing }).toEqual({ node: node.host.name, lost: 0, missing: [] });
      if (backend === "vxlan") expect(await node.host.run(["ip", "link", "show", "flannel.1"])).toContain(node.mac);
    }

    // Nothing of the nodes had to be written: whoever has not been upgraded sees no difference.
    expect(await Promise.all([a, b].map(nodeOf))).toEqual(before);
    expect(
      (await cluster.api.calls()).filter(({ verb, user }) => verb === "patch" && user.includes("flannel")),
    ).toEqual([]);

    const { sent, lost, missing } = await pingDuring(other, { to: pod.address, signal }, async () => {
      for (const end of ["SIGKILL", "SIGTERM"] as const) await a.host.daemon.restart(end, { signal });
      await b.host.daemon.restart("SIGKILL", { signal });
    });
    expect({ lost, missing }).toEqual({ lost: 0, missing: [] });
    expect(sent).toBeGreaterThan(50);

    // Our plugin goes on with theirs' pods, and makes more.
    const more = await onA.addPod("after");
    await untilPing(other, more);
    for (const id of ["before", "after"]) await onA.del(id);
    expect(await a.host.run(["ip", "-br", "link", "show", "type", "veth"])).not.toContain("veth");
    expect([...complaints(a.host), ...complaints(b.host)]).toEqual([]);
  });
