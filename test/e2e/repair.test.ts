import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { Place } from "../../src/lab/place.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { ceiling, complaints, deleteLease, hostsOf, PATIENCE, subnetOf, untilPing } from "./hosts.ts";

const { signal } = new AbortController();
const WITHIN = ceiling(2_000);

/** What of the kernel's state flannel keeps, as `ip` and `bridge` show it. */
async function state(host: Place): Promise<string> {
  const shown = await Promise.all([
    host.run(["ip", "route"]),
    ...["vxlan", "tun"].flatMap((kind) => [
      host.run(["ip", "-br", "link", "show", "type", kind]),
      host.run(["ip", "-br", "-4", "address", "show", "type", kind]),
      host.run(["ip", "-o", "link", "show", "type", kind]).then((shown) => /mtu \d+/.exec(shown)?.[0] ?? ""),
    ]),
    host.run(["ip", "neigh", "show", "nud", "permanent"]),
    host.exec(["bridge", "fdb", "show", "dev", "flannel.1"]).then(({ stdout }) => stdout),
  ]);
  return shown
    .join("")
    .replaceAll(/nhid \d+ /g, "")
    .split("\n")
    .map((line) => line.trim())
    .toSorted()
    .join("\n");
}

interface Peer {
  readonly address: string;
  readonly subnet: string;
}

type Damage = readonly [what: string, command: (peer: Peer) => readonly string[]];

const UNDERLAY_DOWN: Damage = [
  "a link to the other hosts that was down",
  () => [
    "sh",
    "-c",
    "ip link set eth0 down && sleep 0.2 && ip link set eth0 up && ip route replace default via 192.168.77.254",
  ],
];

const DAMAGES: Readonly<Record<string, readonly Damage[]>> = {
  vxlan: [
    ["a peer's route", ({ subnet }) => ["ip", "route", "del", subnet]],
    ["the route of the whole Network", () => ["ip", "route", "del", "10.5.0.0/16"]],
    [
      "all routes of the device",
      () => ["sh", "-c", "ip -o route show dev flannel.1 | cut -d' ' -f1 | xargs -n1 ip route del"],
    ],
    ["a peer's ARP entry", ({ subnet }) => ["ip", "neigh", "del", subnet.replace("/24", ""), "dev", "flannel.1"]],
    ["all ARP entries", () => ["ip", "neigh", "flush", "dev", "flannel.1", "nud", "permanent"]],
    [
      "all FDB entries",
      () => [
        "sh",
        "-c",
        "bridge fdb show dev flannel.1 | cut -d' ' -f1 | xargs -n1 sh -c 'bridge fdb del $0 dev flannel.1'",
      ],
    ],
    ["the address", () => ["ip", "addr", "flush", "dev", "flannel.1", "scope", "global"]],
    ["a device that was set down", () => ["ip", "link", "set", "flannel.1", "down"]],
    ["a changed MTU", () => ["ip", "link", "set", "flannel.1", "mtu", "1300"]],
    ["a changed MAC", () => ["ip", "link", "set", "flannel.1", "address", "02:00:00:00:00:99"]],
    ["the whole device", () => ["ip", "link", "del", "flannel.1"]],
    UNDERLAY_DOWN,
  ],
  udp: [
    ["the route of the whole Network", () => ["ip", "route", "del", "10.5.0.0/16"]],
    ["the address", () => ["ip", "addr", "flush", "dev", "flannel0", "scope", "global"]],
    ["a device that was set down", () => ["ip", "link", "set", "flannel0", "down"]],
    ["a changed MTU", () => ["ip", "link", "set", "flannel0", "mtu", "1300"]],
    ["the whole device", () => ["ip", "link", "del", "flannel0"]],
    ["a device of another name", () => ["sh", "-c", "ip link set flannel0 down && ip link set flannel0 name other0"]],
    UNDERLAY_DOWN,
  ],
  "host-gw": [
    ["a peer's route", ({ subnet }) => ["ip", "route", "del", subnet]],
    ["all routes of ours", () => ["sh", "-c", "ip -o route show proto 241 | cut -d' ' -f1 | xargs -n1 ip route del"]],
    [
      "a nexthop object",
      ({ address }) => [
        "sh",
        "-c",
        `ip nexthop | grep 'via ${address} ' | cut -d' ' -f2 | xargs -n1 ip nexthop del id`,
      ],
    ],
    ["a replaced route", ({ subnet }) => ["ip", "route", "replace", subnet, "via", "192.168.77.254", "proto", "241"]],
    UNDERLAY_DOWN,
  ],
};

test("flanneld mends a device of another kind in its place within 2 s (vxlan)", async () => {
  await using lab = await Lab.up({ hosts: 2, backend: "vxlan", signal });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  await untilPing(a.pod, b.pod);
  const before = await state(a);
  a.daemon.signal("SIGSTOP"); // else it is quicker than who does the damage
  await a.namespace.ip(["link del flannel.1", "link add flannel.1 type bridge"]);
  a.daemon.signal("SIGCONT");
  await waitUntil(async () => (await state(a)) === before, { signal, within: WITHIN, what: "the device is mended" });
  await untilPing(a.pod, b.pod, WITHIN);
});

for (const [backend, damages] of Object.entries(DAMAGES)) {
  for (const [what, command] of damages)
    test(`flanneld mends ${what} within 2 s (${backend})`, async () => {
      await using lab = await Lab.up({ hosts: 2, backend, signal });
      const [a, b] = hostsOf(lab, 2);
      if (a === undefined || b === undefined) throw new Error("no hosts");
      await untilPing(a.pod, b.pod);
      const before = await state(a);
      await a.run(command({ address: b.address, subnet: subnetOf(b) }));
      await waitUntil(async () => (await state(a)) === before, { signal, within: WITHIN, what: `${what} is mended` });
      await untilPing(a.pod, b.pod, WITHIN);
    });
}

for (const backend of ["vxlan", "host-gw"]) {
  test(`flanneld leaves foreign rows alone (${backend})`, async () => {
    await using lab = await Lab.up({ hosts: 2, backend, signal });
    const [a, b] = hostsOf(lab, 2);
    if (a === undefined || b === undefined) throw new Error("no hosts");
    const foreign = [
      "10.5.200.0/24 via 192.168.77.254 dev eth0 proto static",
      "10.5.201.0/25 via 192.168.77.254 dev eth0",
      "10.9.0.0/24 via 192.168.77.254 dev eth0",
      "10.9.1.0/24 via 192.168.77.254 dev eth0 proto 241",
    ];
    await a.namespace.ip([
      ...foreign.map((route) => `route add ${route}`),
      "neigh add 192.168.77.200 lladdr 02:00:00:00:00:01 dev eth0",
    ]);
    await a.daemon.restart("SIGTERM");
    await a.run(["ip", "route", "del", subnetOf(b)]);
    await untilPing(a.pod, b.pod, WITHIN);
    const routes = await a.run(["ip", "route"]);
    for (const route of foreign) expect(routes).toContain(route);
    expect(await a.run(["ip", "neigh", "show", "dev", "eth0"])).toContain(
      "192.168.77.200 lladdr 02:00:00:00:00:01 PERMANENT",
    );
  });

  test(`flanneld says whose route is in the way and leaves it (${backend})`, async () => {
    await using lab = await Lab.up({ hosts: 2, backend, signal });
    const [a, b] = hostsOf(lab, 2);
    if (a === undefined || b === undefined) throw new Error("no hosts");
    await b.daemon.stop();
    const subnet = subnetOf(b);
    await deleteLease(lab, b);
    await waitUntil(async () => !(await a.run(["ip", "route"])).includes(subnet), {
      signal,
      within: WITHIN,
      what: "route is gone",
    });
    await a.namespace.ip([`route add ${subnet} via 192.168.77.254 dev eth0 proto static`]);
    await b.startDaemon();
    await waitUntil(() => complaints(a).some((line) => line.includes(subnet) && line.includes("static")), {
      signal,
      within: PATIENCE,
      what: "the log names the route and its protocol",
    });
    expect(await a.run(["ip", "route"])).toContain(`${subnet} via 192.168.77.254 dev eth0 proto static`);
    await a.run(["ip", "route", "del", subnet]);
    await untilPing(a.pod, b.pod, WITHIN);
  });

  test(`flanneld removes stale rows of peers that vanished while it was down (${backend})`, async () => {
    await using lab = await Lab.up({ hosts: 3, backend, signal });
    const [a, b, c] = hostsOf(lab, 3);
    if (a === undefined || b === undefined || c === undefined) throw new Error("no hosts");
    const gone = subnetOf(c);
    await untilPing(a.pod, c.pod);
    await a.daemon.stop("SIGKILL");
    await c.daemon.stop("SIGKILL");
    await deleteLease(lab, c);
    expect(await a.run(["ip", "route"])).toContain(gone);
    await a.startDaemon();
    await waitUntil(async () => !(await state(a)).includes(gone.replace(".0/24", ".")), {
      signal,
      within: PATIENCE,
      what: "stale rows are gone",
    });
    await untilPing(a.pod, b.pod);
  });
}
