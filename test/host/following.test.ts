import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { ceiling, complaints, hostsOf, subnetOf, untilPing } from "../e2e/hosts.ts";
import { pingDuring } from "../support/pings.ts";

const { signal } = new AbortController();
const WITHIN = ceiling(5_000);

async function twoHosts(backend: string) {
  const lab = await Lab.up({ hosts: 2, backend, signal });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  await untilPing(b.pod, a.pod);
  return { lab, a, b, [Symbol.asyncDispose]: () => lab.down() };
}

async function says(host: LabHost, text: string): Promise<void> {
  await waitUntil(async () => (await host.run(["cat", host.subnetFile])).includes(text), {
    signal,
    within: WITHIN,
    what: `${host.name}'s subnet.env says ${text}`,
  });
}

/** What is left of the underlay's MTU. */
const OVERHEAD: Readonly<Record<string, number>> = { vxlan: 50, udp: 28, "host-gw": 0 };

for (const backend of ["vxlan", "udp", "host-gw"])
  test(`flanneld follows eth0 to another address under traffic, and to other MTUs, with the same subnet (${backend})`, async () => {
    await using place = await twoHosts(backend);
    const { a, b } = place;
    const subnet = subnetOf(a);
    const next = "192.168.77.201";
    const replace = async () => {
      await a.namespace.ip([
        `addr del ${a.address}/24 dev eth0`,
        `addr add ${next}/24 dev eth0`,
        "route add default via 192.168.77.254",
      ]);
      await untilPing(b.pod, a.pod, WITHIN, false).catch(() => {}); // it may be back already
      await untilPing(b.pod, a.pod, WITHIN);
    };
    const { lost, sent } = await pingDuring(b.pod, { to: a.pod.address, interval: 0.1, signal }, replace);
    expect(lost).toBeLessThan(sent);
    expect(subnetOf(a)).toBe(subnet);
    expect(await a.run(["cat", a.subnetFile])).toContain(`FLANNEL_SUBNET=${subnet.replace(".0/", ".1/")}`);
    if (backend === "vxlan") {
      expect(await b.run(["bridge", "fdb", "show", "dev", "flannel.1"])).toContain(`dst ${next} `);
      expect(await a.run(["ip", "-d", "link", "show", "flannel.1"])).toContain(`local ${next} dev eth0`);
    } else if (backend === "host-gw")
      expect(await b.run(["ip", "route", "show", subnet])).toContain(`via ${next} dev eth0`);
    else
      await waitUntil(async () => RegExp(`^UNCONN .* ${next}:8285 .*\n$`).test(await a.run(["ss", "-Hnul"])), {
        signal,
        within: WITHIN,
        what: "there is the new socket alone", // who keeps descriptors has the former one a moment longer
      });
    expect(await b.run(["ip", "route"])).not.toContain(a.address);

    for (const mtu of [1400, 9000]) {
      const left = mtu - (OVERHEAD[backend] ?? 0);
      await a.namespace.ip([`link set eth0 mtu ${mtu}`]);
      await says(a, `FLANNEL_MTU=${left}\n`);
      if (backend !== "host-gw")
        expect(await a.run(["ip", "link", "show", "type", backend === "udp" ? "tun" : backend])).toContain(
          `mtu ${left} `,
        );
      await untilPing(b.pod, a.pod, WITHIN);
    }
    expect(subnetOf(a)).toBe(subnet);
    expect(complaints(a)).toEqual([]);
  });

test("flanneld goes on when eth0 was taken out and another card put in, which has another address", async () => {
  await using place = await twoHosts("vxlan");
  const { lab, a, b } = place;
  const subnet = subnetOf(a);
  await lab.switch.namespace.ip([
    "link del h1",
    `link add h1 type veth peer name eth0 netns ${a.namespace.name}`,
    "link set h1 master br0 up",
  ]);
  await a.namespace.ip([
    "addr add 192.168.77.202/24 dev eth0",
    "link set eth0 up",
    "route add default via 192.168.77.254",
  ]);
  await untilPing(b.pod, a.pod, WITHIN);
  await untilPing(a.pod, b.pod, WITHIN);
  expect(subnetOf(a)).toBe(subnet);
});

test("flanneld leaves all as it is while eth0 has no address, even where another interface has a default route", async () => {
  await using place = await twoHosts("vxlan");
  const { a, b } = place;
  const rows = await b.run(["bridge", "fdb", "show", "dev", "flannel.1"]);
  await a.namespace.ip([
    "link add eth1 type veth peer name other",
    "link set other up",
    "addr add 198.51.100.7/24 dev eth1",
    "link set eth1 up",
    "route add default via 198.51.100.1 metric 500",
    `addr del ${a.address}/24 dev eth0`,
    `addr add ${a.address}/24 dev eth0`, // by the same program: where it is away for 1.5 s, the daemon goes elsewhere
  ]);
  await untilPing(b.pod, a.pod, WITHIN);
  expect(await b.run(["bridge", "fdb", "show", "dev", "flannel.1"])).toBe(rows);
  await a.namespace.ip([`addr del ${a.address}/24 dev eth0`]);
  await waitUntil(() => complaints(a).length > 0 || a.daemon.log().includes("has changed"), {
    signal,
    within: WITHIN,
    what: "the daemon says that it is elsewhere now",
  });
  expect(a.daemon.log()).toMatch(/has changed before="eth0 [\d.]+, MTU 1500" now="eth1 198\.51\.100\.7, MTU 1500"/);
});
