import { describe, expect, test } from "vitest";
import { parseAddress } from "../../ip/address.ts";
import { parsePrefix } from "../../ip/prefix.ts";
import type { KernelRoute, Link } from "../../kernel/kernel.ts";
import type { RemainingNexthop, RemainingRoute, Remains } from "../../kernel/remains.ts";
import { cleanUp } from "./clean-up.ts";
import { kernelLeftovers } from "./kernel-leftovers.ts";

const { signal } = new AbortController();

function link(name: string, kind?: string): Link {
  return {
    index: 1,
    name,
    kind,
    mac: undefined,
    mtu: 1500,
    up: true,
    running: true,
    loopback: false,
    master: undefined,
    lower: undefined,
    vxlan: undefined,
  };
}

function route(text: string, changes: Partial<KernelRoute> & { isThroughOurs?: boolean } = {}): RemainingRoute {
  const { isThroughOurs = false, ...facts } = changes;
  const match = /^(?<to>\S+)(?: via (?<via>\S+))?(?: dev (?<dev>\S+))? proto (?<proto>\d+)$/.exec(text)?.groups ?? {};
  const gateway = match["via"] === undefined ? undefined : parseAddress(match["via"]);
  return {
    route: {
      destination: parsePrefix(match["to"] ?? ""),
      link: match["dev"],
      gateway,
      onlink: false,
      scope: "global",
      protocol: Number(match["proto"]),
      metric: 0,
      source: undefined,
      unicast: true,
      multipath: false,
      ...facts,
    },
    isThroughOurs,
    text,
  };
}

class FakeRemains implements Remains {
  readonly links: Link[] = [];
  readonly routes: RemainingRoute[] = [];
  readonly nexthops: RemainingNexthop[] = [];
  readonly done: string[] = [];
  refuse: string | undefined;

  listLinks = () => Promise.resolve(this.links);
  listRoutes = () => Promise.resolve(this.routes);
  listNexthops = () => Promise.resolve(this.nexthops);
  removeLink = ({ name }: Link) => this.#remove(name);
  removeRoute = ({ text }: RemainingRoute) => this.#remove(text);
  removeNexthop = (id: number) => this.#remove(String(id));
  [Symbol.dispose]() {}

  async #remove(name: string): Promise<void> {
    if (name === this.refuse) throw new Error("the kernel says no");
    this.done.push(name);
  }
}

const RECORD = {
  networks: [parsePrefix("10.5.0.0/16")],
  held: [{ network: parsePrefix("10.5.0.0/16"), subnet: parsePrefix("10.5.3.0/24") }],
  links: ["flannel7", "overlay0"],
};

async function run(remains: FakeRemains, { isRehearsal = false, record = RECORD } = {}) {
  return await cleanUp([kernelLeftovers(remains, record)], { isRehearsal, signal });
}

describe("kernelLeftovers()", () => {
  test("finds devices of every flannel by name and kind, and none of another kind", async () => {
    const remains = new FakeRemains();
    remains.links.push(
      link("eth0"),
      link("cni0", "bridge"),
      link("flannel.1", "vxlan"),
      link("flannel-v6.1", "vxlan"),
      link("flannel0", "tun"),
      link("flannel.ipip", "ipip"),
      link("flannel-wg", "wireguard"),
      link("overlay0", "vxlan"),
      link("vxlan9", "vxlan"),
      link("flannel.2", "bridge"),
      link("flannel7"),
    );
    const { removed, leftAlone } = await run(remains);
    expect(removed.map(({ name }) => name)).toEqual([
      "flannel.1 (vxlan)",
      "flannel-v6.1 (vxlan)",
      "flannel0 (tun)",
      "flannel.ipip (ipip)",
      "flannel-wg (wireguard)",
      "overlay0 (vxlan)",
    ]);
    expect(leftAlone.map(({ name }) => name)).toEqual(["flannel.2 (bridge)", "flannel7 (hardware)"]);
  });

  test("finds routes that are ours, or that 0.7.0 and later releases made, and no others", async () => {
    const remains = new FakeRemains();
    const ours = [
      route("10.5.2.0/24 via 192.0.2.2 dev eth0 proto 241"),
      route("10.5.0.0/16 dev gone0 proto 241"),
      route("10.9.4.0/24 via 192.0.2.4 dev eth0 proto 241", { isThroughOurs: true }),
      route("10.5.4.0/24 via 192.0.2.4 dev eth0 proto 3"),
      route("10.5.3.0/24 proto 3", { unicast: false }),
    ];
    const others = [
      route("0.0.0.0/0 via 192.0.2.254 dev eth0 proto 3"),
      route("10.5.3.0/24 dev cni0 proto 2"),
      route("10.5.4.0/25 via 192.0.2.4 dev eth0 proto 3"),
      route("10.5.5.0/24 dev eth1 proto 3"),
      route("10.5.6.0/24 via 192.0.2.4 dev eth0 proto 3", { metric: 100 }),
      route("10.5.7.0/24 via 192.0.2.4 dev eth0 proto 4"),
      route("10.5.8.0/24 proto 3", { unicast: false }),
      route("10.9.4.0/24 via 192.0.2.4 dev eth0 proto 3"),
    ];
    const strange = route("10.9.5.0/24 via 192.0.2.4 dev eth0 proto 241");
    remains.routes.push(...others, ...ours, strange);
    const { removed, leftAlone } = await run(remains);
    expect(removed.map(({ name }) => name)).toEqual(ours.map(({ text }) => text));
    expect(leftAlone).toEqual([{ kind: "route", name: strange.text, reason: expect.stringContaining("--network") }]);
    const named = { ...RECORD, networks: [...RECORD.networks, parsePrefix("10.9.0.0/16")] };
    expect((await run(remains, { record: named })).leftAlone).toEqual([]);
  });

  test("takes no route or nexthop of a device that go with it, and routes before devices before nexthops", async () => {
    const remains = new FakeRemains();
    remains.links.push(link("flannel.1", "vxlan"));
    remains.nexthops.push({ id: 241_000_000, link: "flannel.1" }, { id: 241_000_001, link: "eth0" });
    remains.routes.push(
      route("10.5.2.0/24 via 10.5.2.0 dev flannel.1 proto 241"),
      route("10.5.4.0/24 via 192.0.2.4 dev eth0 proto 241"),
    );
    await run(remains);
    expect(remains.done).toEqual(["10.5.4.0/24 via 192.0.2.4 dev eth0 proto 241", "flannel.1", "241000001"]);
  });

  test("touches nothing in a rehearsal", async () => {
    const remains = new FakeRemains();
    remains.links.push(link("flannel.1", "vxlan"));
    const { removed } = await run(remains, { isRehearsal: true });
    expect([removed.length, remains.done]).toEqual([1, []]);
  });

  test("goes on after what cannot be removed, and says why", async () => {
    const remains = new FakeRemains();
    remains.links.push(link("flannel.1", "vxlan"), link("flannel.2", "vxlan"));
    remains.refuse = "flannel.1";
    const { removed, failed } = await run(remains);
    expect(removed).toEqual([{ kind: "device", name: "flannel.2 (vxlan)" }]);
    expect(failed).toEqual([{ kind: "device", name: "flannel.1 (vxlan)", reason: "the kernel says no" }]);
  });
});
