import { readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { parseSubnetEnv } from "../../src/lease/subnet-env.ts";
import { pingDuring } from "../support/pings.ts";
import { complaints, PATIENCE, untilPing, withPod } from "./hosts.ts";

const { signal } = new AbortController();

/** What flannel 0.7.0 leaves on a host and in etcd v2, by the captures of it: made here by hand. */
interface Reference {
  readonly subnet: string;
  readonly mac: string;
}

const REFERENCE: readonly Reference[] = [
  { subnet: "10.5.38", mac: "86:33:0d:cc:f2:98" },
  { subnet: "10.5.48", mac: "c6:df:8a:93:40:f8" },
];

async function likeReference(lab: Lab, backend: "vxlan" | "host-gw" | "udp"): Promise<void> {
  const value = (host: LabHost, { mac }: Reference) =>
    backend === "vxlan"
      ? `{"PublicIP":"${host.address}","BackendType":"vxlan","BackendData":{"VtepMAC":"${mac}"}}`
      : backend === "udp"
        ? `{"PublicIP":"${host.address}"}`
        : `{"PublicIP":"${host.address}","BackendType":"host-gw"}`;
  for (const [index, host] of lab.hosts.entries()) {
    const own = at(REFERENCE, index);
    const peer = at(REFERENCE, 1 - index);
    const { address: peerAddress } = at(lab.hosts, 1 - index);
    await lab.store.etcdctl(
      "set",
      "--ttl",
      "86400",
      `/coreos.com/network/subnets/${own.subnet}.0-24`,
      value(host, own),
    );
    if (backend === "vxlan") {
      await host.namespace.ip([
        `link add flannel.1 address ${own.mac} type vxlan id 1 local ${host.address} dev eth0 dstport 8472 nolearning`,
        `addr add ${own.subnet}.0/32 dev flannel.1`,
        "link set flannel.1 up",
        "route add 10.5.0.0/16 dev flannel.1 proto boot scope global",
        // Its daemon answers the kernel's questions for pods one by one; the answers age.
        ...[1, 2].map((pod) => `neigh add ${peer.subnet}.${pod} lladdr ${peer.mac} dev flannel.1 nud reachable`),
      ]);
      await host.run(["bridge", "fdb", "add", peer.mac, "dev", "flannel.1", "dst", peerAddress]);
    } else if (backend === "host-gw") {
      await host.namespace.ip([`route add ${peer.subnet}.0/24 via ${peerAddress} dev eth0 proto boot`]);
    } // its udp device goes with it
    const mtu = { "host-gw": 1500, udp: 1472, vxlan: 1450 }[backend];
    const env = `FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=${own.subnet}.1/24\nFLANNEL_MTU=${mtu}\nFLANNEL_IPMASQ=false\n`;
    writeFileSync(host.subnetFile, env);
    await host.addPod(parseSubnetEnv(env));
  }
}

for (const backend of ["vxlan", "host-gw"] as const)
  test(`flanneld takes over from 0.7.0 in place without a lost ping, and reaches a 0.7.0 host (${backend})`, async () => {
    await using lab = await Lab.up({ hosts: 2, backend, store: "etcd2", daemons: false, pods: 0, signal });
    await likeReference(lab, backend);
    const [a, b] = [withPod(lab.hosts[0]), withPod(lab.hosts[1])];

    const { lost } = await pingDuring(b.pod, { to: a.pod.address, signal }, () => a.startDaemon());
    expect(lost).toBe(0);
    expect(readFileSync(a.subnetFile, "utf8")).toContain("FLANNEL_SUBNET=10.5.38.1/24");
    if (backend === "vxlan") {
      expect(await a.run(["ip", "link", "show", "flannel.1"])).toContain(REFERENCE[0]?.mac);
      // The peer's pod is reached though 0.7.0's own answer for it has aged away here.
      await a.namespace.ip(["neigh flush dev flannel.1 nud reachable"]);
      await waitUntil(async () => (await a.pod.exec(["ping", "-c1", "-W1", b.pod.address])).code === 0, {
        signal,
        within: PATIENCE,
        what: "a 0.7.0 host's pod answers",
      });
    } else {
      expect(await a.run(["ip", "route"])).toContain(`10.5.48.0/24 via ${b.address} dev eth0`);
    }
    expect(await lab.store.etcdctl("get", "/coreos.com/network/subnets/10.5.38.0-24")).toBe(
      backend === "vxlan"
        ? `{"PublicIP":"${a.address}","BackendType":"vxlan","BackendData":{"VtepMAC":"${REFERENCE[0]?.mac}"}}\n`
        : `{"PublicIP":"${a.address}","BackendType":"host-gw"}\n`,
    );
    expect(complaints(a)).toEqual([]);

    const both = await pingDuring(a.pod, { to: b.pod.address, signal }, () => b.startDaemon());
    expect(both.lost).toBe(0);
  });

test("flanneld goes on where 0.7.0 with udp ended: with its subnet, and a lease as 0.7.0 reads it", async () => {
  await using lab = await Lab.up({ hosts: 2, backend: "udp", store: "etcd2", daemons: false, pods: 0, signal });
  await likeReference(lab, "udp");
  const [a, b] = [withPod(lab.hosts[0]), withPod(lab.hosts[1])];
  for (const host of [a, b]) await host.startDaemon();
  await untilPing(a.pod, b.pod);
  expect(readFileSync(a.subnetFile, "utf8")).toContain("FLANNEL_SUBNET=10.5.38.1/24\nFLANNEL_MTU=1472");
  expect(await a.run(["ip", "-br", "-4", "addr", "show", "dev", "flannel0"])).toContain(" 10.5.38.0/16 ");
  expect(await lab.store.etcdctl("get", "/coreos.com/network/subnets/10.5.38.0-24")).toBe(
    `{"PublicIP":"${a.address}"}\n`,
  );
  expect([...complaints(a), ...complaints(b)]).toEqual([]);
});

test("flanneld removes the routes of 0.7.0's peers that are gone, and no administrator's", async () => {
  await using lab = await Lab.up({ hosts: 1, backend: "host-gw", store: "etcd2", daemons: false, pods: 0, signal });
  const host = at(lab.hosts, 0);
  // A lease is one of the first 100 free subnets: none of these.
  await host.namespace.ip(["route add 10.5.160.0/24 via 192.168.77.254 dev eth0 proto boot"]);
  await host.startDaemon();
  await host.daemon.stop();
  expect(await host.run(["ip", "route"]), "nothing shows that a flannel ran here: it stays").toContain("10.5.160.0/24");

  await host.namespace.ip([
    "route add 10.5.161.0/25 via 192.168.77.254 dev eth0 proto boot",
    "route add 10.5.162.0/24 via 192.168.77.254 dev eth0 proto static",
  ]);
  await host.startDaemon(); // now its own subnet.env does
  await waitUntil(async () => !(await host.run(["ip", "route"])).includes("10.5.160.0/24"), {
    signal,
    within: PATIENCE,
    what: "the stale route is gone",
  });
  const routes = await host.run(["ip", "route"]);
  expect(routes).toContain("10.5.161.0/25");
  expect(routes).toContain("10.5.162.0/24");
});

function at<T>(items: readonly T[], index: number): T {
  const item = items[index];
  if (item === undefined) throw new Error(`there is no ${index}`);
  return item;
}
