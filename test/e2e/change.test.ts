import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { pingDuring } from "../support/pings.ts";
import { complaints, deleteLease, hostsOf, PATIENCE, subnetOf, unanswered, untilPing } from "./hosts.ts";

const { signal } = new AbortController();

async function restartAll(lab: Lab): Promise<void> {
  for (const host of lab.hosts) await host.daemon.restart("SIGTERM");
}

/** What each backend leaves if nobody removes it, as `ip` and the processes of the host show it. */
const TRACES: Readonly<Record<string, RegExp>> = {
  "host-gw": /^10\.5\..* dev eth0 proto 241/m,
  udp: /flannel0|sleep|sh -c/,
  vxlan: /flannel\.1/,
};

async function traces(host: LabHost): Promise<string> {
  const processes = await host.namespace.exec([
    "sh",
    "-c",
    'ps -o args= -p "$(ip netns pids $0 | tr "\n" ,)0"',
    host.namespace.name,
  ]);
  const others = processes.stdout.split("\n").filter((line) => !/flanneld|^(sh|ps|ip) .*netns/.test(line));
  return [await host.run(["ip", "route"]), await host.run(["ip", "-br", "link"]), ...others].join("\n");
}

for (const path of [
  ["host-gw", "vxlan", "host-gw"],
  ["host-gw", "udp", "vxlan", "udp", "host-gw"],
])
  test(`flanneld changes its backend: ${path.join(", then ")}; the former rows, device and process go`, async () => {
    const [first = "", ...next] = path;
    await using lab = await Lab.up({ hosts: 3, backend: first, signal });
    const [a, b] = hostsOf(lab, 2);
    if (a === undefined || b === undefined) throw new Error("no hosts");
    let former = first;
    for (const backend of next) {
      await lab.setConfig({ Backend: { Type: backend } });
      await restartAll(lab);
      await untilPing(a.pod, b.pod);
      for (const host of lab.hosts)
        await waitUntil(async () => !TRACES[former]?.test(await traces(host)), {
          signal,
          within: PATIENCE,
          what: `${host.name} has nothing of ${former} any more`,
        });
      expect(await unanswered(lab)).toEqual([]);
      former = backend;
    }
  });

test("flanneld changes the options of udp: the same device and subnet, with and without offloads, on another port", async () => {
  await using lab = await Lab.up({ hosts: 2, backend: "udp", signal });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  const subnet = subnetOf(a);
  for (const options of [{ Offload: false }, { Port: 9285, Offload: false }, { Port: 9285 }, {}]) {
    await lab.setConfig({ Backend: { Type: "udp", ...options } });
    await restartAll(lab);
    await untilPing(a.pod, b.pod);
    expect(await a.run(["ip", "-br", "link", "show", "type", "tun"])).toMatch(/^flannel0 .*\n$/);
    const socket = RegExp(`^UNCONN .* ${a.address}:${options.Port ?? 8285} .*\n$`);
    await waitUntil(async () => socket.test(await a.run(["ss", "-Hnul"])), {
      signal,
      within: 6_000,
      what: "there is the one socket", // who keeps descriptors has a former one a moment longer
    });
    expect(subnetOf(a)).toBe(subnet);
  }
  expect(a.daemon.log().match(/with="?one packet per call/g)).toHaveLength(2);
  expect(complaints(a)).toEqual([]);
});

test("flanneld is reached by udp where it lives now, after its host got another address", async () => {
  await using lab = await Lab.up({ hosts: 2, backend: "udp", signal });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  await untilPing(b.pod, a.pod);
  const subnet = subnetOf(a);
  await a.daemon.stop();
  await a.namespace.ip([
    `addr del ${a.address}/24 dev eth0`,
    "addr add 192.168.77.201/24 dev eth0",
    "route add default via 192.168.77.254",
  ]);
  await deleteLease(lab, a); // it names the former address; until it ends, its subnet is taken
  await a.startDaemon();
  expect(subnetOf(a)).toBe(subnet);
  expect(await a.run(["ss", "-Hnul"])).toMatch(/^UNCONN .* 192\.168\.77\.201:8285 .*\n$/);
  await untilPing(b.pod, a.pod);
});

test("flanneld changes its VNI: the former device goes after the new one is in place", async () => {
  await using lab = await Lab.up({ hosts: 2, backend: { Type: "vxlan", VNI: 1 }, signal });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  await lab.setConfig({ Backend: { Type: "vxlan", VNI: 7, Port: 4789 } });
  await restartAll(lab);
  await untilPing(a.pod, b.pod);
  for (const host of [a, b])
    await waitUntil(
      async () =>
        /^flannel\.7 .*UP/m.test(await host.run(["ip", "-br", "link"])) &&
        !(await host.run(["ip", "-br", "link"])).includes("flannel.1"),
      {
        signal,
        within: PATIENCE,
        what: `${host.name} has flannel.7 alone`,
      },
    );
  expect(await a.run(["ip", "-d", "link", "show", "flannel.7"])).toMatch(/vxlan id 7 .* dstport 4789 /);
});

test("flanneld keeps a compatible device with its MAC, and replaces one that is not", async () => {
  await using lab = await Lab.up({ hosts: 1, backend: "vxlan", daemons: false, pods: 0, signal });
  const [host] = lab.hosts;
  if (host === undefined) throw new Error("no host");
  const device = (attributes: string) =>
    `link add flannel.1 address 02:aa:bb:cc:dd:ee type vxlan id 1 dev eth0 ${attributes}`;
  await host.namespace.ip([device(`local ${host.address} dstport 8472 nolearning`)]);
  const index = await host.run(["cat", "/sys/class/net/flannel.1/ifindex"]);
  await host.startDaemon();
  expect(await host.run(["cat", "/sys/class/net/flannel.1/ifindex"])).toBe(index);
  expect(await host.run(["ip", "link", "show", "flannel.1"])).toContain("02:aa:bb:cc:dd:ee");

  await host.daemon.stop();
  await host.namespace.ip(["link del flannel.1", device(`local ${host.address} dstport 4789 learning`)]);
  const other = await host.run(["cat", "/sys/class/net/flannel.1/ifindex"]);
  await host.startDaemon();
  expect(await host.run(["cat", "/sys/class/net/flannel.1/ifindex"])).not.toBe(other);
  expect(await host.run(["ip", "-d", "link", "show", "flannel.1"])).toMatch(
    /02:aa:bb:cc:dd:ee[\s\S]*dstport 8472 nolearning/,
  );
});

test("flanneld moves to another Network after a restart, and nothing of the former one is left", async () => {
  await using lab = await Lab.up({ hosts: 2, backend: "vxlan", pods: 0, signal });
  await lab.setConfig({ Network: "10.77.0.0/16" });
  await restartAll(lab);
  for (const host of lab.hosts) {
    const state = async () =>
      `${await host.run(["ip", "route"])}${await host.run(["ip", "-br", "-4", "addr", "show", "flannel.1"])}`;
    await waitUntil(async () => !(await state()).includes("10.5."), {
      signal,
      within: PATIENCE,
      what: "no route to the former Network, and no address of it",
    });
    expect(await host.run(["ip", "route"])).toContain("10.77.0.0/16 dev flannel.1");
    expect(complaints(host).filter((line) => !/subnet changed|not in the Network/.test(line))).toEqual([]);
  }
});

test("a peer's new MAC and public address reach a host whose store was away", async () => {
  await using lab = await Lab.up({ hosts: 2, backend: "vxlan", store: "etcd3", signal });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  await untilPing(a.pod, b.pod);
  await lab.store.server?.stop("SIGKILL");
  await b.daemon.stop();
  await lab.store.start();
  const key = `/coreos.com/network/subnets/${(await b.run(["cat", b.subnetFile])).match(/SUBNET=(\S+)\.1\/24/)?.[1]}.0-24`;
  await lab.store.etcdctl(
    "put",
    key,
    `{"PublicIP":"${b.address}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:77:77"}}`,
  );
  await waitUntil(
    async () => (await a.run(["ip", "neigh", "show", "nud", "permanent"])).includes("02:00:00:00:77:77"),
    { signal, within: PATIENCE, what: "the new MAC is known" },
  );
  expect(await a.run(["bridge", "fdb", "show", "dev", "flannel.1"])).toContain("02:00:00:00:77:77");
  await b.startDaemon();
  await untilPing(a.pod, b.pod);
});

test("a pod that scans the whole Network leaves room in the host's neighbour table", async () => {
  await using lab = await Lab.up({ hosts: 2, backend: "vxlan", signal });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  const overflows = async () =>
    Number(/table_fulls (\d+)/.exec(await a.run(["ip", "-s", "ntable", "show", "name", "arp_cache"]))?.[1]);
  const before = await overflows();
  const scan = `const socket = require("node:dgram").createSocket("udp4");
    let sent = 0;
    for (let third = 100; third < 116; third++) for (let last = 1; last < 255; last++)
      socket.send("x", 9, "10.5." + third + "." + last, () => { if (++sent === 16 * 254) socket.close(); });`;
  const { lost } = await pingDuring(b.pod, { to: a.pod.address, signal }, () =>
    a.pod.run([process.execPath, "-e", scan]),
  );
  expect(lost).toBe(0);
  expect((await overflows()) - before).toBe(0);
});
