import { describe, expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { Fleet, HOST_GW, type Host, macOf } from "./fleet.ts";

/** The value of the lease on the subnet. */
function leaseOn(fleet: Fleet, subnet: string): string | undefined {
  return [...fleet.store.entries("")].find(([key]) => key === subnet.replace("/", "-"))?.[1].value;
}

function twinOf(host: Host): void {
  host.kernel.neighborsOnLinks.set(host.address, macOf(99));
}

describe("runNetwork() where a lease names its public IP already", () => {
  test("leaves it to another host that answers, names that, and takes it when that is silent", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(1, { subnet: 40, mac: 40 });
    const before = leaseOn(fleet, "10.5.40.0/24");
    const host = await fleet.host(1);
    twinOf(host);
    host.start();
    await fleet.passes(30_000);
    expect([host.ready, leaseOn(fleet, "10.5.40.0/24")]).toEqual([0, before]);
    expect(host.complaints()).toEqual([
      expect.stringMatching(
        /^no lease yet: --public-ip: another host, 66:72:44:0d:7e:99 on eth0, has the address 192\.0\.2\.1 too, and the lease on 10\.5\.40\.0\/24/,
      ),
    ]);
    host.kernel.neighborsOnLinks.clear();
    await fleet.until(() => host.ready > 0, "it is ready", { step: 500 });
    expect(await host.published()).toBe("10.5.40.0/24");
    expect(host.complaints()).toEqual([expect.stringContaining("taking over a lease")]);
  });

  test("leaves it to a host that it cannot reach and whose flanneld answers through the store, until that is silent", async () => {
    await using fleet = new Fleet();
    const holder = await fleet.running(1);
    const subnet = await holder.published();
    const peer = await fleet.running(2);
    await fleet.until(() => peer.leadsTo(1), "a peer knows it");
    peer.done();
    holder.complaints();
    const host = await fleet.host(1); // the same address on another link, as of a virtual machine
    host.start();
    await fleet.passes(20_000);
    expect(host.ready).toBe(0);
    expect(host.complaints()).toEqual([
      expect.stringMatching(
        /^no lease yet: --public-ip: another host, whose flanneld runs and whose VTEP is [0-9a-f:]{17}, has the address 192\.0\.2\.1 too, and the lease on 10\.5\./,
      ),
    ]);
    expect([holder.complaints(), peer.done(), await holder.published()]).toEqual([[], [], subnet]);
    await holder.stop();
    await fleet.until(() => host.ready > 0, "it is ready", { step: 500 });
    expect(await host.published()).toBe(subnet);
    expect(host.complaints()).toEqual([expect.stringContaining("taking over a lease")]);
  });

  test("leaves it to a host whose VTEP answers behind a NAT, though its flanneld does not run, and takes it when that is silent", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(77, { subnet: 40, mac: 40 });
    const before = leaseOn(fleet, "10.5.40.0/24");
    const host = await fleet.host(1);
    host.natAddress = "192.0.2.77";
    host.kernel.distantVteps.set("192.0.2.77", macOf(40));
    host.start();
    await fleet.passes(30_000);
    expect([host.ready, leaseOn(fleet, "10.5.40.0/24")]).toEqual([0, before]);
    expect(host.complaints()).toEqual([
      expect.stringContaining(`another host, whose VTEP ${macOf(40)} answers there, has the address 192.0.2.77 too`),
    ]);
    host.kernel.distantVteps.clear();
    await fleet.until(() => host.ready > 0, "it is ready", { step: 500 });
    expect(await host.published()).toBe("10.5.40.0/24");
    expect(host.complaints()).toEqual([expect.stringContaining("taking over a lease")]);
  });

  test("takes a router that answers for every address for nobody", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(1, { subnet: 40, mac: 40 });
    const host = await fleet.host(1);
    const gateway = parseAddress("192.0.2.254");
    host.kernel.setRoute({ destination: parsePrefix("0.0.0.0/0"), link: "eth0", gateway });
    twinOf(host);
    host.kernel.neighborsOnLinks.set("192.0.2.254", macOf(99));
    host.start();
    await fleet.until(() => host.ready > 0, "it is ready", { step: 500 });
    expect(await host.published()).toBe("10.5.40.0/24");
  });

  test("knows its own by the subnet and the MAC it had, and asks nobody", async () => {
    await using fleet = new Fleet();
    const host = await fleet.running(1);
    const subnet = await host.published();
    twinOf(host);
    await host.stop();
    host.start();
    await fleet.until(() => host.ready > 0, "it is ready");
    expect(await host.published()).toBe(subnet);
    expect(host.complaints()).toEqual([]);
  });

  test("takes one that an administrator made for it", async () => {
    await using fleet = new Fleet(HOST_GW);
    fleet.store.put("", "10.5.30.0-24", '{"PublicIP":"192.0.2.1"}', undefined);
    const host = await fleet.host(1);
    twinOf(host);
    host.start();
    await fleet.until(() => host.ready > 0, "it is ready");
    expect(await host.published()).toBe("10.5.30.0/24");
    expect(host.complaints()).toEqual([]);
  });

  test("does not fight with another host that takes its lease while it runs, and keeps its rows", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(9);
    const host = await fleet.running(1);
    await fleet.until(() => host.leadsTo(9), "it knows the peer");
    const rows = host.kernel.show();
    twinOf(host);
    const number = Number((await host.published()).split(".")[2]);
    fleet.writeLease(1, { subnet: number, mac: 77 });
    const taken = leaseOn(fleet, await host.published());
    await fleet.passes(60_000);
    expect(leaseOn(fleet, await host.published())).toBe(taken);
    expect(host.kernel.show()).toEqual(rows);
    expect(host.complaints()).toEqual([
      expect.stringContaining("our lease was rewritten"),
      expect.stringContaining("another host has our public IP"),
    ]);
  });
});

describe("runNetwork() after its host got another address while it was down", () => {
  async function moved(fleet: Fleet, { isAnswered = false } = {}) {
    const [host, peer] = [await fleet.running(1), await fleet.running(2)];
    await fleet.until(() => peer.leadsTo(1), "the peer knows it");
    const subnet = await host.published();
    await host.stop();
    host.kernel.setAddress("eth0", parsePrefix("192.0.2.77/24"));
    host.kernel.deleteAddress("eth0", parsePrefix("192.0.2.1/24"));
    if (isAnswered) twinOf(host);
    host.start();
    await fleet.until(() => host.ready > 0, "it is ready");
    return { host, peer, subnet };
  }

  test("takes its lease and its subnet along", async () => {
    await using fleet = new Fleet();
    const { host, peer, subnet } = await moved(fleet);
    await fleet.until(() => peer.leadsTo(77) && !peer.leadsTo(1), "the peer follows");
    expect(await host.published()).toBe(subnet);
    expect([...fleet.store.entries("")]).toHaveLength(2);
    expect(host.complaints()).toEqual([]);
  });

  test("does not take along what it has to an address that another host has a lease by, as long as that lives", async () => {
    await using fleet = new Fleet();
    const [host, other] = [await fleet.running(1), await fleet.running(77)];
    const subnet = await host.published();
    await host.stop();
    host.complaints();
    host.kernel.setAddress("eth0", parsePrefix("192.0.2.77/24"));
    host.kernel.deleteAddress("eth0", parsePrefix("192.0.2.1/24"));
    host.start();
    await fleet.passes(20_000);
    expect([host.ready, leaseOn(fleet, subnet)?.includes('"192.0.2.1"')]).toEqual([0, true]);
    expect(host.complaints()).toEqual([expect.stringContaining(`the lease on ${await other.published()}`)]);
    await other.stop();
    await fleet.until(() => host.ready > 0, "it is ready", { step: 500 });
    expect(await host.published()).toBe(subnet);
  });

  test("takes nothing from the host that has its former address now: it may be a copy of that host", async () => {
    await using fleet = new Fleet();
    const { host, peer, subnet } = await moved(fleet, { isAnswered: true });
    expect(await host.published()).not.toBe(subnet);
    expect(leaseOn(fleet, subnet)).toContain('"192.0.2.1"');
    expect(peer.leadsTo(1)).toBe(true);
  });
});

describe("runNetwork() on a host whose own network overlaps", () => {
  test("refuses the Network with the route's name, once, and takes it when the route is gone", async () => {
    await using fleet = new Fleet();
    const host = await fleet.host(1);
    host.kernel.setLink({ name: "eth1" });
    host.kernel.setAddress("eth1", parsePrefix("10.5.9.7/24"));
    host.start();
    await fleet.passes(10_000);
    expect([host.ready, [...fleet.store.entries("")].length]).toEqual([0, 0]);
    expect(host.complaints()).toEqual([
      expect.stringContaining("Network: 10.5.0.0/16 overlaps this host's own route 10.5.9.0/24 dev eth1"),
    ]);
    host.kernel.deleteAddress("eth1", parsePrefix("10.5.9.7/24"));
    await fleet.until(() => host.ready > 0, "it is ready", { step: 100 });
  });

  test("goes on where it had a subnet already, and warns", async () => {
    await using fleet = new Fleet();
    const host = await fleet.running(1);
    await host.stop();
    host.kernel.setLink({ name: "eth1" });
    host.kernel.setAddress("eth1", parsePrefix("10.5.9.7/24"));
    host.start();
    await fleet.until(() => host.ready > 0, "it is ready");
    expect(host.complaints()).toEqual([expect.stringContaining("10.5.9.0/24 dev eth1")]);
  });

  test("names a bridge that kept the subnet of a former lease", async () => {
    await using fleet = new Fleet();
    const host = await fleet.host(1);
    host.kernel.setLink({ name: "cni0", kind: "bridge" });
    host.kernel.setAddress("cni0", parsePrefix("10.5.200.1/24"));
    host.start();
    await fleet.until(() => host.ready > 0, "it is ready");
    await fleet.passes(10_000);
    expect(host.logger.lines.find(({ fields }) => fields["bridge"] !== undefined)?.fields).toMatchObject({
      bridge: "cni0",
    });
  });
});
