import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { Place } from "../../src/lab/place.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { ceiling, hostsOf } from "./hosts.ts";

const { signal } = new AbortController();
const WITHIN = ceiling(2_000);

/** What of the kernel's state flannel keeps, as `ip` and `bridge` show it. */
async function state(host: Place): Promise<string> {
  const shown = await Promise.all([
    host.run(["ip", "route"]),
    host.run(["ip", "-br", "link", "show", "type", "vxlan"]),
    host.run(["ip", "-br", "-4", "address", "show", "type", "vxlan"]),
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

async function repairs(host: Place, damage: readonly string[]): Promise<void> {
  const before = await state(host);
  await host.run(damage);
  await waitUntil(async () => (await state(host)) === before, {
    signal,
    within: WITHIN,
    what: `${host.title} mends \`${damage.join(" ")}\``,
  });
}

for (const backend of ["vxlan", "host-gw"]) {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.up({ hosts: 3, backend, signal });
  });
  afterAll(async () => {
    await lab.down();
  });

  const damages: readonly (readonly [string, (peer: { address: string; subnet: string }) => string[]])[] =
    backend === "vxlan"
      ? [
          ["a peer's route", ({ subnet }) => ["ip", "route", "del", `${subnet}/24`]],
          ["the route of the whole Network", () => ["ip", "route", "del", "10.5.0.0/16"]],
          ["all routes of ours", () => ["ip", "route", "flush", "proto", "241"]],
          ["a peer's ARP entry", ({ subnet }) => ["ip", "neigh", "del", subnet, "dev", "flannel.1"]],
          ["all ARP entries", () => ["ip", "neigh", "flush", "dev", "flannel.1", "nud", "permanent"]],
          ["the address", () => ["ip", "addr", "flush", "dev", "flannel.1", "scope", "global"]],
          ["a device that was set down", () => ["ip", "link", "set", "flannel.1", "down"]],
          ["a changed MTU", () => ["ip", "link", "set", "flannel.1", "mtu", "1300"]],
          ["a changed MAC", () => ["ip", "link", "set", "flannel.1", "address", "02:00:00:00:00:99"]],
          ["the whole device", () => ["ip", "link", "del", "flannel.1"]],
        ]
      : [
          ["a peer's route", ({ subnet }) => ["ip", "route", "del", `${subnet}/24`]],
          ["all routes of ours", () => ["ip", "route", "flush", "proto", "241"]],
          [
            "a nexthop object",
            ({ address }) => ["sh", "-c", `ip nexthop del id $(ip nexthop | awk '$4 == "${address}" { print $2 }')`],
          ],
          [
            "a replaced route",
            ({ subnet }) => ["ip", "route", "replace", `${subnet}/24`, "via", "192.168.77.254", "proto", "241"],
          ],
        ];

  for (const [what, damage] of damages)
    test(`flanneld mends ${what} within 2 s (${backend})`, async () => {
      const [a, b] = hostsOf(lab, 2);
      if (a === undefined || b === undefined) throw new Error("no hosts");
      await repairs(a, damage({ address: b.address, subnet: b.subnetEnv().subnet.address && subnetStart(b) }));
      expect((await lab.ping()).filter((result) => result.time === undefined)).toEqual([]);
    });

  test(`flanneld mends a removed link to the other hosts when it is back (${backend})`, async () => {
    const [a] = hostsOf(lab, 1);
    if (a === undefined) throw new Error("no host");
    const before = await state(a);
    await a.namespace.ip(["link set eth0 down"]);
    await delay(200);
    await a.namespace.ip(["link set eth0 up", "route replace default via 192.168.77.254"]);
    await waitUntil(async () => (await state(a)) === before, { signal, within: WITHIN, what: "rows are back" });
    expect((await lab.ping()).filter((result) => result.time === undefined)).toEqual([]);
  });

  test(`flanneld leaves foreign rows alone, and says so where one is in the way (${backend})`, async () => {
    const [a] = hostsOf(lab, 1);
    if (a === undefined) throw new Error("no host");
    const foreign = [
      "10.5.200.0/24 via 192.168.77.254 dev eth0 proto static",
      "10.5.201.0/24 via 192.168.77.254 dev eth0 proto bird",
      "10.9.0.0/24 via 192.168.77.254 dev eth0",
    ];
    await a.namespace.ip([
      ...foreign.map((route) => `route add ${route}`),
      "neigh add 192.168.77.200 lladdr 02:00:00:00:00:01 dev eth0",
    ]);
    await a.daemon.restart("SIGTERM");
    await a.run(["ip", "route", "flush", "proto", "241"]);
    await delay(500);
    const routes = await a.run(["ip", "route"]);
    for (const route of foreign) expect(routes).toContain(route);
    expect(await a.run(["ip", "neigh", "show", "dev", "eth0"])).toContain(
      "192.168.77.200 lladdr 02:00:00:00:00:01 PERMANENT",
    );
  });
}

function subnetStart(host: { subnetEnv(): { subnet: { address: { value: bigint } } } }): string {
  const value = Number(host.subnetEnv().subnet.address.value);
  return `10.5.${(value >> 8) & 255}.0`;
}
