import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { flannel } from "./flannel.ts";
import { ceiling, complaints, PATIENCE, subnetOf } from "./hosts.ts";

const { signal } = new AbortController();

for (const store of ["etcd2", "etcd3", "embedded"] as const)
  test(
    `50 daemons that start at once on 63 subnets get distinct leases, and none exits (${store})`,
    { timeout: 180_000 },
    async () => {
      await using lab = await Lab.up({
        hosts: 50,
        pods: 0,
        daemons: false,
        backend: "host-gw",
        store,
        network: "10.5.0.0/20",
        config: { SubnetLen: 26 },
        signal,
      });
      await Promise.all(lab.hosts.map((host) => host.daemon.start()));
      await Promise.all(lab.hosts.map((host) => host.daemon.ready({ within: 120_000 })));
      expect(new Set(lab.hosts.map(subnetOf)).size).toBe(50);
      expect(lab.hosts.filter((host) => !host.daemon.isRunning)).toEqual([]);
      expect(lab.hosts.flatMap(complaints)).toEqual([]);
    },
  );

for (const store of ["etcd2", "etcd3", "embedded"] as const)
  test(`of eight takers of one subnet one gets it, and another the next freed one within 1 s (${store})`, async () => {
    await using lab = await Lab.up({
      hosts: 8,
      pods: 0,
      daemons: false,
      backend: "host-gw",
      store,
      network: "10.5.0.0/24",
      signal,
    });
    await Promise.all(lab.hosts.map((host) => host.daemon.start()));
    const winner = await Promise.any(lab.hosts.map(async (host) => (await host.daemon.ready(), host)));
    const others = lab.hosts.filter((host) => host !== winner);
    await waitUntil(() => others.every((host) => complaints(host).some((line) => line.includes("out of subnets"))), {
      signal,
      within: PATIENCE,
      what: "the others say why",
    });
    expect(others.every((host) => host.daemon.isRunning)).toBe(true);

    await winner.daemon.stop();
    const subnet = subnetOf(winner);
    expect(subnet).toBe("10.5.0.128/25");
    await flannel(lab, "lease", "revoke", subnet);
    const next = await waitUntil(() => others.find((host) => host.daemon.log().includes("] ready ")), {
      signal,
      within: ceiling(1_000),
      what: "the freed subnet is taken",
    });
    expect(subnetOf(next)).toBe(subnet);
    for (const host of others)
      expect(
        complaints(host).filter((line) => line.includes("out of subnets")).length,
        "said once, not each second",
      ).toBe(1);
  });
