import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { describe, expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { Fleet, HOST_GW, type Host, macOf, VXLAN } from "./fleet.ts";

const HOUR = 60 * 60 * 1000;
const vxlanWith = (options: object) =>
  JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: "vxlan", ...options } });
const subnetOf = (key: string | undefined) => key?.replace("-", "/");

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

describe("runNetwork() when started again", () => {
  test.each([
    ["vxlan", VXLAN],
    ["host-gw", HOST_GW],
  ])("touches nothing in the kernel that is as it should be (%s)", async (type, config) => {
    await using fleet = new Fleet(config);
    fleet.writeLease(9, { type });
    const host = await fleet.running(1);
    await fleet.until(() => host.leadsTo(9), "it knows the peer");
    const subnet = await host.published();
    for (let time = 0; time < 3; time++) {
      await host.stop();
      host.done();
      host.start();
      await fleet.until(() => host.ready > 0, "it is ready");
      await fleet.passes(5_000);
      expect(host.done()).toEqual([]);
    }
    expect(await host.published()).toBe(subnet);
    expect(host.complaints()).toEqual([]);
  });

  test("has the same subnet and MAC after a reboot, also if its lease has expired meanwhile", async () => {
    await using fleet = new Fleet();
    const host = await fleet.running(1);
    const [subnet, links] = [await host.published(), host.rows("link")];
    await host.stop();
    host.kernel.deleteLink("flannel.1");
    fleet.store.remove("", host.key() ?? "");
    host.start();
    await fleet.until(() => host.ready > 0, "it is ready");
    expect(await host.published()).toBe(subnet);
    expect(host.rows("link")).toEqual(links);
  });

  test("takes over a host of flannel 0.7.0 with its subnet, device and MAC, and what it left of former peers", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(9);
    const host = await fleet.host(1);
    const vxlan = { vni: 1, local: parseAddress("192.0.2.1"), lower: "eth0", port: 8472, gbp: false, learning: false };
    host.kernel.setLink({ name: "flannel.1", kind: "vxlan", mac: macOf(71), mtu: 1450, vxlan, lower: "eth0" });
    host.kernel.setAddress("flannel.1", parsePrefix("10.5.38.0/32"));
    host.kernel.setRoute({ destination: parsePrefix("10.5.0.0/16"), link: "flannel.1", scope: "global" });
    for (const number of [8, 9])
      host.kernel.setFdb({ link: "flannel.1", mac: macOf(number), destination: parseAddress(`192.0.2.${number}`) });
    await mkdir(dirname(host.subnetFile), { recursive: true });
    await writeFile(
      host.subnetFile,
      "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.38.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
    );
    host.start();
    await fleet.until(() => host.rows("neighbor").length > 0 && !host.leadsTo(8), "it is as it should be");
    expect(await host.published()).toBe("10.5.38.0/24");
    expect(host.done()).toEqual([
      `add neighbor 10.5.9.0 lladdr ${macOf(9)} dev flannel.1`,
      "add route 10.5.9.0/24 via 10.5.9.0 dev flannel.1 onlink",
      `remove fdb ${macOf(8)} dst 192.0.2.8 dev flannel.1`,
    ]);
  });

  test("puts a new backend in place before the former device goes, and back", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(9);
    fleet.writeLease(8, { type: "host-gw" });
    const host = await fleet.running(1);
    await fleet.until(() => host.leadsTo(9), "it knows the peer");
    const subnet = await host.published();
    await restartWith(fleet, host, HOST_GW);
    fleet.writeLease(9, { type: "host-gw" });
    await fleet.until(() => host.rows("link").length === 0, "the device is gone", { step: 100 });
    expect(await host.published()).toBe(subnet);
    expect(host.rows("route").toSorted()).toEqual([
      "10.5.8.0/24 via 192.0.2.8 dev eth0 proto 241",
      "10.5.9.0/24 via 192.0.2.9 dev eth0 proto 241",
    ]);
    const done = host.done();
    expect(done.findIndex((line) => line.startsWith("remove link"))).toBeGreaterThan(
      done.indexOf("add route 10.5.8.0/24 via 192.0.2.8 dev eth0"),
    );
    await restartWith(fleet, host, VXLAN);
    fleet.writeLease(9);
    await fleet.until(() => host.rows("fdb").length === 1, "it knows the peer");
    await fleet.passes(2_000);
    expect(host.rows("route").toSorted()).toEqual([
      "10.5.0.0/16 dev flannel.1 proto 241",
      "10.5.9.0/24 via 10.5.9.0 dev flannel.1 proto 241",
    ]);
  });

  test("makes the device of another VNI before the former goes", async () => {
    await using fleet = new Fleet();
    const host = await fleet.running(1);
    await restartWith(fleet, host, vxlanWith({ VNI: 7, Port: 4789 }));
    await fleet.until(() => host.rows("link").length === 1, "the former device is gone", { step: 100 });
    const done = host.done();
    expect(done.findIndex((line) => line.startsWith("remove link flannel.1 "))).toBeGreaterThan(
      done.findIndex((line) => line.startsWith("add link flannel.7 ")),
    );
    expect(host.rows("route")).toEqual(["10.5.0.0/16 dev flannel.7 proto 241"]);
  });

  test("removes also a device that it was killed over before it was ready", async () => {
    await using fleet = new Fleet();
    const host = await fleet.host(1);
    host.kernel.refuse = (request) => (request.startsWith("add address") ? "not now" : undefined);
    host.start();
    await fleet.until(() => host.rows("link").length === 1, "the device is there");
    host.kernel.refuse = () => undefined;
    await restartWith(fleet, host, vxlanWith({ VNI: 7 }));
    await fleet.until(() => host.rows("link").length === 1, "the former device is gone", { step: 100 });
    expect(host.rows("route")).toEqual(["10.5.0.0/16 dev flannel.7 proto 241"]);
  });

  test("leaves the former Network's rows nowhere, and tells that containers must be restarted", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(9);
    const host = await fleet.running(1);
    await fleet.until(() => host.leadsTo(9), "it knows the peer");
    await host.stop();
    host.complaints();
    fleet.store.setConfig("", '{"Network":"10.77.0.0/16","Backend":{"Type":"host-gw"}}');
    host.start();
    await fleet.until(() => host.ready > 0, "it is ready");
    await fleet.until(() => host.rows("link").length === 0, "the device is gone", { step: 100 });
    expect(host.rows("route")).toEqual([]);
    expect(host.complaints()).toContain("subnet changed: containers started before must be restarted");
  });
});

async function restartWith(fleet: Fleet, host: Host, config: string): Promise<void> {
  await host.stop();
  fleet.store.setConfig("", config);
  host.done();
  host.start();
  await fleet.until(() => host.ready > 0, "it is ready again");
}

describe("runNetwork() when its lease is lost", () => {
  test("takes the same subnet again, without a row ever missing", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(9);
    const host = await fleet.running(1);
    await fleet.until(() => host.leadsTo(9), "it knows the peer");
    const [subnet, rows] = [await host.published(), host.kernel.show()];
    host.done();
    for (let time = 1; time <= 3; time++) {
      fleet.store.remove("", host.key() ?? "");
      await fleet.until(() => host.ready === 1 + time, "it is ready again");
      await fleet.passes(1_000);
    }
    expect(await host.published()).toBe(subnet);
    expect(host.done()).toEqual([]);
    expect(host.kernel.show()).toEqual(rows);
    expect(host.ready).toBe(4);
    expect(host.complaints()).toEqual(
      Array(3).fill(
        `lease was lost; taking it again: lease on ${subnet} was lost: the store does not have it any more`,
      ),
    );
    fleet.writeLease(8);
    await fleet.until(() => host.leadsTo(8), "it still follows");
  });

  test("takes another subnet if its own is another host's now, and says that containers must be restarted", async () => {
    await using fleet = new Fleet();
    const host = await fleet.running(1);
    const subnet = await host.published();
    fleet.writeLease(9, { subnet: Number(subnet.split(".")[2]) });
    await fleet.until(() => host.ready === 2, "it is ready again", { step: 100 });
    expect(await host.published()).not.toBe(subnet);
    expect(host.complaints().at(-1)).toBe("subnet changed: containers started before must be restarted");
    await fleet.until(() => host.leadsTo(9), "it leads to the new holder");
    expect(host.rows("address").filter((row) => row.endsWith("flannel.1")).length).toBe(1);
  });

  test("renews in time for days, and keeps its subnet through an outage of hours", async () => {
    await using fleet = new Fleet();
    const host = await fleet.running(1);
    const subnet = await host.published();
    await fleet.passes(30 * HOUR);
    host.registry.connection = "down";
    await fleet.passes(12 * HOUR);
    host.registry.connection = "up";
    await fleet.passes(50 * HOUR);
    expect(subnetOf(host.key())).toBe(subnet);
    expect(host.ready).toBe(1);
  });
});

describe("runNetwork() when the store forgets", () => {
  test("keeps every row when it was wiped, takes its lease again, and lets peers go at their end", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(9);
    const [host, other] = [await fleet.running(1), await fleet.running(2)];
    await fleet.until(() => host.leadsTo(9) && host.leadsTo(2), "it knows them");
    const [subnet, rows] = [await host.published(), host.kernel.show()];
    host.done();
    fleet.store.wipe();
    await fleet.passes(30_000);
    expect(host.done()).toEqual([]);
    fleet.store.setConfig("", VXLAN);
    await fleet.until(() => host.key() !== undefined && other.key() !== undefined, "they have their leases", {
      step: 500,
    });
    await fleet.passes(60_000);
    expect(host.kernel.show()).toEqual(rows);
    expect(await host.published()).toBe(subnet);
    expect(host.complaints().join("\n")).toContain("history was reset");
    await fleet.passes(25 * HOUR);
    expect([host.leadsTo(9), host.leadsTo(2)]).toEqual([false, true]);
  });

  test("keeps those who came since when it was restored from an old backup", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(8);
    const backup = fleet.store.backup();
    const host = await fleet.running(1);
    fleet.writeLease(9);
    await fleet.until(() => host.leadsTo(9), "it knows the newcomer");
    const [subnet, rows] = [await host.published(), host.kernel.show()];
    fleet.store.restore(backup);
    await fleet.until(() => host.key() !== undefined, "it has its lease again", { step: 100 });
    await fleet.passes(60_000);
    expect(host.kernel.show()).toEqual(rows);
    expect(subnetOf(host.key())).toBe(subnet);
  });

  test("keeps them also when the backup was restored while it was down", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(8);
    const backup = fleet.store.backup();
    const host = await fleet.running(1);
    fleet.writeLease(9);
    await fleet.until(() => host.leadsTo(9), "it knows the newcomer");
    await host.stop();
    const rows = host.kernel.show();
    fleet.store.restore(backup);
    host.start();
    await fleet.until(() => host.ready > 0, "it is ready");
    await fleet.passes(60_000);
    expect(host.kernel.show()).toEqual(rows);
    await fleet.passes(25 * HOUR);
    expect([host.leadsTo(8), host.leadsTo(9)]).toEqual([false, false]);
  });

  test("keeps its rows while the config is gone, and goes on when it is back", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(9);
    const host = await fleet.running(1);
    await fleet.until(() => host.leadsTo(9), "it knows the peer");
    const rows = host.kernel.show();
    fleet.store.removeConfig("");
    fleet.store.remove("", host.key() ?? "");
    await fleet.passes(60_000);
    expect(host.kernel.show()).toEqual(rows);
    host.kernel.deleteLink("flannel.1");
    await fleet.passes(1_000);
    expect(host.kernel.show()).toEqual(rows);
    fleet.store.setConfig("", VXLAN);
    await fleet.until(() => host.ready === 2, "it is ready again", { step: 100 });
    expect(host.kernel.show()).toEqual(rows);
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
