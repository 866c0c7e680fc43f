import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { pingDuring } from "../support/pings.ts";
import { cut } from "./cut.ts";
import { complaints, hostsOf, untilPing } from "./hosts.ts";

const { signal } = new AbortController();

/** How soon a dead connection must be noticed, ms. */
const NOTICED = 15_000;

for (const store of ["etcd2", "etcd3"] as const)
  test(`a host that is cut off from ${store} in silence notices within 15 s, keeps its pods talking, and learns what it missed`, async () => {
    await using lab = await Lab.up({ hosts: 2, backend: "vxlan", store, signal });
    const [a, b] = hostsOf(lab, 2);
    if (a === undefined || b === undefined) throw new Error("no hosts");
    await untilPing(a.pod, b.pod);
    const { lost, result: joined } = await pingDuring(a.pod, { to: b.pod.address, signal }, async () => {
      await using _cut = await cut(a, 2379);
      await waitUntil(() => complaints(a).some((line) => line.includes("the store is away")), {
        signal,
        within: NOTICED,
        what: "the host notices that it hears nothing",
      });
      const host = await lab.addHost();
      const to = host.pods[0]?.address ?? host.address;
      expect((await a.pod.exec(["ping", "-n", "-c1", "-W0.2", to])).code, "the newcomer is not known yet").not.toBe(0);
      return host;
    });
    expect(lost).toBe(0);
    const [, , c] = hostsOf(lab, 3);
    expect(c?.name).toBe(joined.name);
    if (c !== undefined) await untilPing(a.pod, c.pod);
    expect(a.daemon.log()).toContain("the store is back");
    expect(a.daemon.isRunning).toBe(true);
  });
