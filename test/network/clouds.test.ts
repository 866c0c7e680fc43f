// What runNetwork() leaves in a cloud's route table, on fake kernels and a fake cloud.
import { describe, expect, test } from "vitest";
import type { CloudRoute } from "../../src/cloud/cloud.ts";
import { CloudError } from "../../src/cloud/cloud-error.ts";
import { formatPrefix, parsePrefix } from "../../src/ip/prefix.ts";
import { Fleet, HOST_GW, type Host } from "./fleet.ts";

const VPC = '{"Network":"10.5.0.0/16","Backend":{"Type":"aws-vpc"}}';

/** Where the cloud sends what. */
function routes({ cloud }: Host): readonly string[] {
  return cloud.api.routes.map(({ destination, target }) => `${formatPrefix(destination)} ${target}`).toSorted();
}

function others(destination: string): CloudRoute {
  return { table: undefined, destination: parsePrefix(destination), target: "eni-2", leadsTo: "instance" };
}

describe("runNetwork() when a network does not use a cloud's routes any more", () => {
  test("removes this host's own once other hosts have followed, and nobody else's", async () => {
    await using fleet = new Fleet(VPC);
    const host = await fleet.running(1);
    host.cloud.api.putByHand(others("10.5.9.0/24"));
    const own = `${await host.published()} eni-1`;
    expect(routes(host)).toContain(own);
    fleet.store.setConfig("", HOST_GW);
    await fleet.until(() => host.ready > 1, "it is ready again", { step: 500 });
    await fleet.passes(30_000);
    expect(routes(host)).toContain(own);
    await fleet.until(() => !routes(host).includes(own), "its route is gone", { step: 500 });
    expect(routes(host)).toEqual(["10.5.9.0/24 eni-2"]);
    expect(host.complaints()).toEqual([]);
  });

  test("also when it was down meanwhile", async () => {
    await using fleet = new Fleet(VPC);
    const host = await fleet.running(1);
    await host.stop();
    fleet.store.setConfig("", HOST_GW);
    host.start();
    await fleet.until(() => routes(host).length === 0, "its route is gone", { step: 500 });
  });

  test("says once why it cannot, asks ever more seldom, and does it when it can", async () => {
    await using fleet = new Fleet(VPC);
    const host = await fleet.running(1);
    host.cloud.api.failures.set("remove", new CloudError("permission", "not allowed"));
    fleet.store.setConfig("", HOST_GW);
    await fleet.until(() => host.cloud.api.log.at(-1)?.startsWith("remove") === true, "it has tried", { step: 500 });
    await fleet.passes(3_600_000);
    const tries = host.cloud.api.log.filter((line) => line.startsWith("remove")).length;
    expect(tries).toBeGreaterThan(2);
    expect(tries).toBeLessThan(20);
    expect(host.complaints()).toEqual([
      `routes of an earlier config cannot be removed: ${await host.published()} in the route table of the instance's subnet: not allowed`,
    ]);
    host.cloud.api.failures.clear();
    await fleet.until(() => routes(host).length === 0, "its route is gone", { step: 60_000 });
  });

  test("a network that is removed takes its route along, of several networks only its own", async () => {
    await using fleet = new Fleet(undefined);
    for (const [name, network] of [
      ["blue", "10.5.0.0/16"],
      ["red", "10.6.0.0/16"],
    ] as const)
      fleet.store.setConfig(name, `{"Network":"${network}","Backend":{"Type":"aws-vpc"}}`);
    const host = await fleet.host(1);
    host.startNetworks();
    await fleet.until(() => routes(host).length === 2, "both have their route", { step: 100 });
    const removed = (count: number) => () =>
      host.logger.messages("info").filter((line) => line.startsWith("network was removed")).length === count;
    fleet.store.removeConfig("blue");
    await fleet.until(removed(1), "blue is gone", { step: 100 });
    expect(routes(host)).toEqual([expect.stringMatching(/^10\.6\./)]);
    host.cloud.api.failures.set("remove", new CloudError("permission", "not allowed"));
    fleet.store.removeConfig("red");
    await fleet.until(removed(2), "red is gone", { step: 100 });
    expect(host.complaints()).toEqual([
      expect.stringMatching(
        /routes of the network stay in the cloud's table; flannel cleanup removes them: not allowed/,
      ),
    ]);
  });
});
