// Leases that are lost, and stores that forget.
import { describe, expect, test } from "vitest";
import { Fleet, subnetOf, VXLAN } from "./fleet.ts";

const HOUR = 60 * 60 * 1000;

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
