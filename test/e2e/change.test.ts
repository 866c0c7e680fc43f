import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { pingDuring } from "../support/pings.ts";
import { complaints, hostsOf, untilPing } from "./hosts.ts";

const { signal } = new AbortController();

async function restartAll(lab: Lab): Promise<void> {
  for (const host of lab.hosts) await host.daemon.restart("SIGTERM");
}

test("flanneld changes from host-gw to vxlan and back: the former rows and device go", async () => {
  await using lab = await Lab.up({ hosts: 3, backend: "host-gw", signal });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  await lab.setConfig({ Backend: { Type: "vxlan" } });
  await restartAll(lab);
  await untilPing(a.pod, b.pod, 6_000);
  await waitUntil(async () => !(await a.run(["ip", "route", "show", "proto", "241"])).includes("dev eth0"), {
    signal,
    within: 6_000,
    what: "no route by host-gw",
  });
  expect((await lab.ping()).filter((result) => result.time === undefined)).toEqual([]);

  await lab.setConfig({ Backend: { Type: "host-gw" } });
  await restartAll(lab);
  await untilPing(a.pod, b.pod, 6_000);
  for (const host of lab.hosts)
    await waitUntil(async () => !(await host.run(["ip", "-br", "link"])).includes("flannel.1"), {
      signal,
      within: 6_000,
      what: `${host.name} has no flannel.1`,
    });
  expect((await lab.ping()).filter((result) => result.time === undefined)).toEqual([]);
});

test("flanneld changes its VNI: the former device goes after the new one is in place", async () => {
  await using lab = await Lab.up({ hosts: 2, backend: { Type: "vxlan", VNI: 1 }, signal });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  await lab.setConfig({ Backend: { Type: "vxlan", VNI: 7, Port: 4789 } });
  await restartAll(lab);
  await untilPing(a.pod, b.pod, 6_000);
  for (const host of [a, b])
    await waitUntil(
      async () =>
        /^flannel\.7 .*UP/m.test(await host.run(["ip", "-br", "link"])) &&
        !(await host.run(["ip", "-br", "link"])).includes("flannel.1"),
      {
        signal,
        within: 6_000,
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
    await waitUntil(async () => !(await host.run(["ip", "route"])).includes("10.5."), {
      signal,
      within: 6_000,
      what: "no route to the former Network",
    });
    expect(await host.run(["ip", "route"])).toContain("10.77.0.0/16 dev flannel.1");
    expect(await host.run(["ip", "-br", "-4", "addr", "show", "flannel.1"])).not.toContain("10.5.");
    expect(complaints(host).filter((line) => !/subnet changed|not in the Network/.test(line))).toEqual([]);
  }
});

test("a peer's new MAC and public address reach a host whose store was away", async () => {
  await using lab = await Lab.up({ hosts: 2, backend: "vxlan", store: "etcd3", signal });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  await untilPing(a.pod, b.pod, 3_000);
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
    { signal, within: 15_000, what: "the new MAC is known" },
  );
  expect(await a.run(["bridge", "fdb", "show", "dev", "flannel.1"])).toContain("02:00:00:00:77:77");
  await b.startDaemon();
  await untilPing(a.pod, b.pod, 6_000);
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
