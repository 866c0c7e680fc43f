import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { Fleet, HOST_GW, type Host, VXLAN } from "./fleet.ts";

function replaceAddress(host: Host, address: string): void {
  host.kernel.deleteAddress("eth0", parsePrefix(`${host.address}/24`));
  host.kernel.setAddress("eth0", parsePrefix(`${address}/24`));
}

/** The public IP in the host's lease on the subnet. */
function publicIP(fleet: Fleet, subnet: string): string | undefined {
  const entry = [...fleet.store.entries("")].find(([key]) => key === subnet.replace("/", "-"));
  return /"PublicIP":"([^"]*)"/.exec(entry?.[1].value ?? "")?.[1];
}

describe("runNetwork() when its interface changes", () => {
  test("takes its lease, its subnet and its device along to another address, and peers follow", async () => {
    await using fleet = new Fleet();
    const [host, peer] = [await fleet.running(1), await fleet.running(2)];
    await fleet.until(() => host.leadsTo(2) && peer.leadsTo(1), "they know each other");
    const subnet = await host.published();
    const mac = /[0-9a-f:]{17}/.exec(peer.rows("fdb").join())?.[0];
    replaceAddress(host, "192.0.2.77");
    await fleet.until(() => peer.leadsTo(77), "the peer leads to the new address", { step: 50 });
    expect(peer.leadsTo(1)).toBe(false);
    expect(peer.rows("fdb").join()).toContain(mac);
    await fleet.until(() => host.ready === 2, "it is ready again", { step: 50 });
    expect(await host.published()).toBe(subnet);
    expect(publicIP(fleet, subnet)).toBe("192.0.2.77");
    expect([...fleet.store.entries("")]).toHaveLength(2);
    expect(host.rows("link").join()).toContain("local 192.0.2.77 dev eth0");
    expect(host.leadsTo(2)).toBe(true);
    expect([...host.complaints(), ...peer.complaints()]).toEqual([]);
  });

  test("keeps a reservation a reservation, under the new address", async () => {
    await using fleet = new Fleet();
    fleet.store.put("", "10.5.30.0-24", '{"PublicIP":"192.0.2.1"}', undefined);
    const host = await fleet.running(1);
    replaceAddress(host, "192.0.2.77");
    await fleet.until(() => publicIP(fleet, "10.5.30.0/24") === "192.0.2.77", "the lease says so", { step: 50 });
    const entry = [...fleet.store.entries("")].find(([key]) => key === "10.5.30.0-24");
    expect(entry?.[1]).toMatchObject({ expiresAt: undefined });
  });

  test("waits for an address while there is none, says so once, and leaves all as it is", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(9);
    const host = await fleet.running(1);
    await fleet.until(() => host.leadsTo(9), "it knows the peer");
    const rows = host.rows("fdb");
    host.kernel.deleteAddress("eth0", parsePrefix("192.0.2.1/24"));
    await fleet.passes(60_000);
    expect(host.rows("fdb")).toEqual(rows);
    expect(host.complaints()).toEqual([expect.stringContaining("has lost its address")]);
    host.kernel.setAddress("eth0", parsePrefix("192.0.2.1/24"));
    await fleet.passes(5_000);
    expect([host.ready, host.rows("fdb"), host.complaints()]).toEqual([1, rows, []]);
  });

  test.each([
    [VXLAN, 1350, 8950],
    [HOST_GW, 1400, 9000],
  ])("follows the MTU, also in the file: %s", async (config, small, large) => {
    await using fleet = new Fleet(config);
    const host = await fleet.running(1);
    for (const [mtu, left] of [
      [1400, small],
      [9000, large],
    ] as const) {
      host.kernel.setLink({ name: "eth0", mtu });
      await fleet.until(
        async () => (await readFile(host.subnetFile, "utf8")).includes(`FLANNEL_MTU=${left}\n`),
        "it is published",
        {
          step: 50,
        },
      );
      if (config === VXLAN) expect(host.rows("link").join()).toContain(`mtu ${left}`);
    }
    expect(host.complaints()).toEqual([]);
  });

  test("uses no larger packets than Backend.MTU says, and no larger ones than the interface takes", async () => {
    await using fleet = new Fleet('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","mtu":1400}}');
    const host = await fleet.running(1);
    const published = () => readFile(host.subnetFile, "utf8");
    expect(await published()).toContain("FLANNEL_MTU=1350\n");
    expect(host.complaints()).toEqual([]);
    host.kernel.setLink({ name: "eth0", mtu: 1300 });
    await fleet.until(async () => (await published()).includes("FLANNEL_MTU=1250\n"), "it is published", { step: 50 });
    expect(host.complaints()).toEqual([expect.stringContaining("Backend.MTU is more than the interface takes")]);
    fleet.store.setConfig("", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","MTU":1200}}');
    await fleet.until(async () => (await published()).includes("FLANNEL_MTU=1150\n"), "it is published", { step: 500 });
    fleet.store.setConfig("", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","MTU":100}}');
    await fleet.passes(120_000);
    expect(host.complaints()).toEqual([
      expect.stringMatching(/cannot be used: Backend\.MTU: must be a whole number from 640 to 65535, not 100/),
    ]);
  });

  test("has its device again when the link went and came", async () => {
    await using fleet = new Fleet();
    fleet.writeLease(9);
    const host = await fleet.running(1);
    await fleet.until(() => host.leadsTo(9), "it knows the peer");
    host.kernel.deleteLink("flannel.1");
    host.kernel.deleteLink("eth0");
    await fleet.passes(60_000);
    expect(host.rows("link")).not.toContain("flannel.1");
    host.complaints();
    host.kernel.setLink({ name: "eth0" });
    host.kernel.setAddress("eth0", parsePrefix("192.0.2.1/24"));
    await fleet.until(() => host.leadsTo(9), "it leads to the peer again", { step: 50 });
  });

  test("takes another address of its own while it has no subnet yet", async () => {
    await using fleet = new Fleet();
    const host = await fleet.host(1);
    host.registry.connection = "down";
    host.start();
    await fleet.passes(5_000);
    replaceAddress(host, "192.0.2.77");
    await fleet.passes(5_000);
    host.registry.connection = "up";
    await fleet.until(() => host.ready > 0, "it is ready", { step: 100 });
    expect(publicIP(fleet, await host.published())).toBe("192.0.2.77");
  });
});

describe("runNetwork() when the network's config changes", () => {
  test("goes over to another backend, and back, with the same subnet", async () => {
    await using fleet = new Fleet();
    const [host, peer] = [await fleet.running(1), await fleet.running(2)];
    const subnet = await host.published();
    for (const [config, type] of [
      [HOST_GW, "via 192.0.2.2 dev eth0"],
      [VXLAN, "via 10.5.2.0 dev flannel.1"],
    ] as const) {
      fleet.store.setConfig("", config);
      await fleet.until(
        () => host.rows("route").some((row) => row.includes(type)) && peer.leadsTo(1),
        `routes are ${type}`,
        { step: 500 },
      );
    }
    expect(await host.published()).toBe(subnet);
    expect(host.complaints().filter((line) => !line.includes("peer ignored"))).toEqual([]);
  });

  test("goes over to another VNI and another Network, and leaves nothing of the former", async () => {
    await using fleet = new Fleet();
    const host = await fleet.running(1);
    fleet.store.setConfig("", '{"Network":"10.77.0.0/16","Backend":{"Type":"vxlan","VNI":7}}');
    await fleet.until(() => host.rows("link").join().includes("flannel.7"), "it has the device", { step: 500 });
    await fleet.until(() => !host.rows("link").join().includes("flannel.1 "), "the former device is gone", {
      step: 500,
    });
    expect(host.rows("route").join()).not.toContain("10.5.");
    expect(host.key()).toMatch(/^10\.77\./);
    expect(host.complaints()).toEqual([expect.stringContaining("subnet changed")]);
  });

  test("goes on as it is with one that cannot be used, says so once, and takes a better one", async () => {
    await using fleet = new Fleet();
    const host = await fleet.running(1);
    const rows = host.kernel.show();
    fleet.store.setConfig("", '{"Network":"10.5.0.0/16","Backend":{"Type":"magic"}}');
    await fleet.passes(300_000);
    expect(host.kernel.show()).toEqual(rows);
    expect(host.complaints()).toEqual([expect.stringMatching(/cannot be used: Backend\.Type.*magic/)]);
    fleet.store.setConfig("", HOST_GW);
    await fleet.until(() => !host.rows("link").join().includes("flannel.1"), "the device is gone", { step: 500 });
  });

  test("is not disturbed by a config that says the same in other words", async () => {
    await using fleet = new Fleet();
    const host = await fleet.running(1);
    fleet.store.setConfig("", '{"Backend":{"Type":"VXLAN"},"network":"10.5.0.0/16","SubnetLen":24}');
    await fleet.passes(300_000);
    expect([host.ready, host.complaints()]).toEqual([1, []]);
  });
});
