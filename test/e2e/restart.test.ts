import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { ipJson } from "../support/kernel-state.ts";
import { pingDuring } from "../support/pings.ts";
import { hostsOf, PATIENCE, subnetOf, untilPing } from "./hosts.ts";

const { signal } = new AbortController();

for (const backend of ["host-gw", "udp", "vxlan"])
  for (const how of ["SIGTERM", "SIGKILL"] as const)
    test(`flanneld restarts ten times by ${how} under ${backend} without a lost ping`, async () => {
      await using lab = await Lab.up({ hosts: 2, backend, signal });
      const [a, b] = hostsOf(lab, 2);
      if (a === undefined || b === undefined) throw new Error("no hosts");
      if (backend === "udp") await keepsDescriptors(a);
      const subnet = subnetOf(a);
      const links = await ipJson(a, "link");
      // What is in the thread's hands goes with it if it is killed: read from the device, not yet sent. All else must be kept.
      const hasHands = backend === "udp" && how === "SIGKILL";
      const pings = { to: a.pod.address, interval: hasHands ? 0.03 : 0.01, signal };
      const { sent, lost, missing } = await pingDuring(b.pod, pings, async ({ answered }) => {
        for (let restart = 0; restart < 10; restart++) {
          if (hasHands) await answered();
          await a.daemon.restart(how, { signal });
          // The kernel's queues hold what comes in some seconds, not what comes in the time of ten restarts.
          if (backend === "udp") await untilPing(b.pod, a.pod);
        }
      });
      expect(lost, `missing: ${missing.join(" ")}`).toBe(0);
      expect(sent).toBeGreaterThan(50); // ten restarts take about a second
      expect(subnetOf(a)).toBe(subnet);
      expect((await ipJson(a, "link")).map(device)).toEqual(links.map(device));
    });

test("flanneld may be away for ten neighbour ageing periods without a lost ping", async () => {
  await using lab = await Lab.up({ hosts: 2, backend: "vxlan", signal });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  for (const host of [a, b])
    for (const link of ["flannel.1", "eth0", "cni0"]) {
      await host.namespace.sysctl(
        1,
        `net/ipv4/neigh/${link}/gc_stale_time`,
        `net/ipv4/neigh/${link}/delay_first_probe_time`,
      );
      await host.namespace.sysctl(500, `net/ipv4/neigh/${link}/base_reachable_time_ms`);
    }
  const { lost } = await pingDuring(b.pod, { to: a.pod.address, signal }, async () => {
    await Promise.all([a.daemon.stop("SIGTERM"), b.daemon.stop("SIGKILL")]);
    await delay(10_000);
  });
  expect(lost).toBe(0);
  const { lost: after } = await pingDuring(a.pod, { to: b.pod.address, signal }, async () => {
    await Promise.all([a.startDaemon(), b.startDaemon()]);
  });
  expect(after).toBe(0);
});

/** A daemon that is killed in its first moments has had nobody yet who keeps device and socket. */
async function keepsDescriptors({ stateDirectory }: LabHost) {
  const isKept = () => existsSync(join(stateDirectory, "handover.json"));
  await waitUntil(isKept, { signal, within: PATIENCE, what: "device and socket are kept for the next daemon" });
}

function device(link: Record<string, unknown>) {
  return [link["ifindex"], link["ifname"], link["address"]];
}
