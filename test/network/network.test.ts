import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { Fleet, HOST_GW, macOf, subnetOf, VXLAN, vxlanWith } from "./fleet.ts";

describe("runNetwork() on a new host", () => {
  test("leases a subnet, makes its device, publishes and then says that it is ready", async () => {
    await using fleet = new Fleet();
    const host = await fleet.host(1);
    const atReady: string[] = [];
    host.start(() => atReady.push(...host.rows("link"), ...host.rows("address")));
    await fleet.until(() => host.ready > 0, "it is ready");
    const subnet = await host.published();
    expect(subnet).toBe(subnetOf(host.key()));
    expect(await readFile(host.subnetFile, "utf8")).toBe(
      `FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=${subnet.replace(".0/", ".1/")}\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n`,
    );
    expect(atReady[0]).toMatch(/^flannel\.1 vxlan id 1 local 192\.0\.2\.1 dev eth0 dstport 8472 nolearning/);
    expect(atReady[1]).toBe(`${subnet.replace("/24", "/32")} dev flannel.1`);
    expect(host.complaints()).toEqual([]);
  });

  test("is ready with the file only once its device stands", async () => {
    await using fleet = new Fleet();
    const host = await fleet.host(1);
    host.kernel.refuse = (request) => (request.startsWith("add link") ? "no memory" : undefined);
    const refusals: string[] = [];
    const hear = () => refusals.push(...host.complaints().filter((line) => line.includes("no memory")));
    host.start();
    await fleet.until(() => hear() > 0, "it tried to make its device");
    await fleet.passes(5_000);
    expect(host.ready).toBe(0);
    await expect(host.published()).rejects.toThrow("ENOENT");
    expect(hear()).toBe(1);
    host.kernel.refuse = () => undefined;
    await fleet.until(() => host.ready > 0, "it is ready", { step: 1_000 });
  });

  test("is ready though a sysctl cannot be written and another's route has the whole Network", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(2);
    const host = await fleet.host(1);
    const needless = / sysctl |route 10\.5\.0\.0\/16/;
    host.kernel.refuse = (request) => (needless.test(request) ? "refused" : undefined);
    host.start();
    await fleet.until(() => host.ready > 0, "it is ready");
    await fleet.until(() => host.leadsTo(2), "it leads to its peer");
    expect(host.complaints().filter((line) => line.includes("refused")).length).toBe(2);
  });

  test("waits for a config, saying so once, and finds it within a second", async () => {
    await using fleet = new Fleet("");
    const host = await fleet.host(1);
    host.start();
    await fleet.passes(20_000);
    expect(host.complaints()).toEqual([
      "no usable network config yet; waiting for one: no network config at memory:/config",
    ]);
    expect(host.status).toBe("Waiting for a usable network config: no network config at memory:/config.");
    fleet.store.setConfig("", VXLAN);
    await fleet.passes(1_000);
    await fleet.until(() => host.ready > 0, "it is ready");
  });

  test("says what is wrong with each config, once, and takes a good one", async () => {
    await using fleet = new Fleet("{");
    const host = await fleet.host(1);
    host.start();
    await fleet.passes(5_000);
    for (const config of [
      '{"Network":"10.5.0.0/33"}',
      '{"Network":"10.5.0.0/16","Backend":{"Type":"magic"}}',
      vxlanWith({ VNI: 16_777_216 }),
    ]) {
      fleet.store.setConfig("", config);
      await fleet.passes(5_000);
    }
    const said = host.complaints().map((line) => line.replace("no usable network config yet; waiting for one: ", ""));
    expect(said.slice(1)).toEqual([
      'Network: prefix length is not 0 to 32: "10.5.0.0/33"',
      'Backend.Type: backend "magic" is unknown; there are alloc, aws-vpc, gce, host-gw, udp, vxlan',
      "Backend.VNI: must be a whole number from 0 to 16777215, not 16777216",
    ]);
    expect(said[0]).toMatch(/is not JSON/);
    fleet.store.setConfig("", HOST_GW);
    await fleet.until(() => host.ready > 0, "it is ready", { step: 100 });
    expect(host.kernel.log).toEqual([]);
  });

  test("waits for the store, saying so once", async () => {
    await using fleet = new Fleet();
    const host = await fleet.host(1);
    host.registry.connection = "down";
    host.start();
    await fleet.passes(20_000);
    expect(host.complaints().length).toBe(1);
    host.registry.connection = "up";
    await fleet.until(() => host.ready > 0, "it is ready", { step: 100 });
  });

  test("says that there is no subnet, and takes one within a second of its being freed", async () => {
    await using fleet = new Fleet(
      '{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0","SubnetMax":"10.5.1.0","Backend":{"Type":"alloc"}}',
    );
    fleet.writeLease(9, { subnet: 1 });
    const host = await fleet.host(1);
    host.start();
    await fleet.passes(10_000);
    expect(host.complaints()).toEqual([
      "no lease yet: out of subnets: all from 10.5.1.0/24 to 10.5.1.0/24 are taken by 1 leases",
    ]);
    fleet.store.remove("", "10.5.1.0-24");
    await fleet.passes(1_000);
    await fleet.until(() => host.ready > 0, "it is ready");
    expect(await host.published()).toBe("10.5.1.0/24");
  });
});

describe("runNetwork() with peers", () => {
  test("follows hosts that come, change and go", async () => {
    await using fleet = new Fleet();
    const [one, two] = [await fleet.running(1), await fleet.running(2)];
    await fleet.until(() => one.leadsTo(2) && two.leadsTo(1), "they know each other");
    fleet.writeLease(9);
    await fleet.until(() => one.leadsTo(9), "it knows the newcomer");
    fleet.store.remove("", "10.5.9.0-24");
    await fleet.until(() => !one.leadsTo(9), "it has forgotten the newcomer");
    expect([...one.complaints(), ...two.complaints()]).toEqual([]);
  });

  test("removes rows of peers that vanished while it was down, and no foreign ones", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(8);
    fleet.writeLease(9);
    const host = await fleet.running(1);
    await fleet.until(() => host.leadsTo(8) && host.leadsTo(9), "it knows both");
    await host.stop();
    fleet.store.remove("", "10.5.9.0-24");
    const foreign = [
      { destination: parsePrefix("10.5.200.0/24"), link: "eth0", gateway: parseAddress("192.0.2.77"), protocol: 4 },
      { destination: parsePrefix("10.66.9.0/24"), link: "eth0", gateway: parseAddress("192.0.2.78") },
    ];
    for (const route of foreign) host.kernel.setRoute(route);
    host.done();
    host.start();
    await fleet.until(() => !host.leadsTo(9), "the stale rows are gone");
    await fleet.passes(2_000);
    expect(host.done()).toEqual([
      "remove route 10.5.9.0/24 via 10.5.9.0 dev flannel.1 onlink",
      `remove neighbor 10.5.9.0 lladdr ${macOf(9)} dev flannel.1`,
      `remove fdb ${macOf(9)} dst 192.0.2.9 dev flannel.1`,
    ]);
    expect(host.rows("route")).toContain("10.5.200.0/24 via 192.0.2.77 dev eth0 proto static");
    expect(host.rows("route")).toContain("10.66.9.0/24 via 192.0.2.78 dev eth0 proto boot");
  });

  test("learns of a changed MAC and of who went while the store was away and forgot its history", async () => {
    await using fleet = new Fleet();
    for (const number of [7, 8, 9]) fleet.writeLease(number);
    const host = await fleet.running(1);
    await fleet.until(() => host.leadsTo(9), "it knows them");
    host.done();
    host.registry.connection = "down";
    await fleet.passes(60_000);
    fleet.writeLease(8, { mac: 88 });
    fleet.store.remove("", "10.5.9.0-24");
    fleet.store.clearHistory();
    host.registry.connection = "up";
    await fleet.until(() => !host.leadsTo(9), "it knows who went", { step: 1_000 });
    await fleet.passes(1_000);
    expect(host.done()).toEqual([
      `add fdb ${macOf(88)} dst 192.0.2.8 dev flannel.1`,
      `add neighbor 10.5.8.0 lladdr ${macOf(88)} dev flannel.1`,
      "remove route 10.5.9.0/24 via 10.5.9.0 dev flannel.1 onlink",
      `remove neighbor 10.5.9.0 lladdr ${macOf(9)} dev flannel.1`,
      `remove fdb ${macOf(8)} dst 192.0.2.8 dev flannel.1`,
      `remove fdb ${macOf(9)} dst 192.0.2.9 dev flannel.1`,
    ]);
  });

  test("puts everything back when its device is deleted", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(9);
    const host = await fleet.running(1);
    await fleet.until(() => host.leadsTo(9), "it knows the peer");
    const before = host.kernel.show();
    host.kernel.deleteLink("flannel.1");
    expect(host.leadsTo(9)).toBe(false);
    await fleet.passes(1_000);
    expect(host.kernel.show()).toEqual(before);
  });
});

describe("runNetwork() when it is stopped", () => {
  test("ends with the reason at whatever moment, and leaves the kernel as it is", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(9);
    for (let turns = 0; turns < 60; turns++) {
      const host = await fleet.host(10 + turns);
      const reason = new Error(`after ${turns} turns`);
      host.start();
      for (let turn = 0; turn < turns; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
      const before = host.kernel.log.filter((line) => line.startsWith("remove"));
      expect(await host.stop(reason)).toBe(reason);
      expect(host.kernel.log.filter((line) => line.startsWith("remove"))).toEqual(before);
      expect(host.complaints()).toEqual([]);
      expect(fleet.clock.sleeping).toBe(0);
    }
  });
});

describe("what runNetwork() shows of itself", () => {
  test("its status follows peers, and rows that cannot be put in place", async () => {
    await using fleet = new Fleet();
    const host = await fleet.running(1);
    const subnet = await host.published();
    const up = `Up: subnet ${subnet}, backend vxlan`;
    await fleet.until(() => host.status === `${up}, 0 peers.`, "it is up");
    fleet.writeLease(2);
    await fleet.until(() => host.status === `${up}, 1 peer.`, "it has a peer");
    host.kernel.refuse = (request) => (request.includes("route 10.5.3.0/24") ? "no route to host" : undefined);
    fleet.writeLease(3);
    await fleet.until(() => host.status.includes("not in place"), "it says what is not in place");
    expect(host.status).toMatch(/, 2 peers; not in place: add route 10\.5\.3\.0\/24 .*no route to host\)\.$/);
  });

  test("its reconcile loop is watched, and is stuck while the kernel does not answer", async () => {
    await using fleet = new Fleet();
    const host = await fleet.running(1);
    await fleet.passes(1_000);
    const stuck = host.liveness.observer();
    for (let look = 0; look < 3; look++) expect(stuck()).toEqual([]);
    const { promise: answers, resolve: answer } = Promise.withResolvers<void>();
    host.kernel.pause = () => answers;
    fleet.writeLease(2);
    await fleet.passes(1_000);
    expect([stuck(), stuck()].at(-1)).toEqual(["the reconcile loop"]);
    answer();
    await fleet.until(() => host.leadsTo(2), "it leads to its peer");
    expect([stuck(), stuck()].at(-1)).toEqual([]);
  });
});
