import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { ipJson } from "../support/kernel-state.ts";
import { tcpDelivers } from "../support/tcp.ts";
import { ceiling, complaints, deleteLease, hostsOf, subnetOf, unanswered, untilPing, withPod } from "./hosts.ts";

const { signal } = new AbortController();

const MTU = { "host-gw": 1500, udp: 1472, vxlan: 1450 } as const;

for (const backend of ["host-gw", "udp", "vxlan"] as const)
  for (const store of ["etcd2", "etcd3", "embedded", "server"] as const)
    test(`flanneld connects pods by ${backend} on ${store}: pings, TCP, a host that joins, a lease that goes`, async () => {
      await using lab = await Lab.up({ hosts: 3, backend, store, signal });
      const [a, b, c] = hostsOf(lab, 3);
      if (a === undefined || b === undefined || c === undefined) throw new Error("no hosts");

      for (const from of [a, b, c])
        for (const to of [a, b, c]) if (from !== to) await untilPing(from.pod, to.pod, ceiling(1_000));
      expect(await unanswered(lab)).toEqual([]);
      expect(await tcpDelivers(a.pod, c.pod, { signal })).toBe(true);
      const { mtu } = a.subnetEnv();
      expect(mtu).toBe(MTU[backend]);
      expect(await unanswered(lab, { size: mtu })).toEqual([]);

      const late = withPod(await lab.addHost());
      await untilPing(a.pod, late.pod, ceiling(1_000));

      const before = subnetOf(c);
      await c.daemon.stop("SIGKILL"); // else it would take its lease again at once
      await deleteLease(lab, c);
      await waitUntil(async () => !(await routesOf(a)).includes(before), {
        signal,
        within: ceiling(1_000),
        what: `${before} is gone from ${a.name}`,
      });
      await untilPing(a.pod, c.pod, ceiling(1_000), false);
      expect([...complaints(a), ...complaints(b), ...complaints(late)]).toEqual([]);

      await c.startDaemon();
      expect(subnetOf(c)).toBe(before);
      await untilPing(a.pod, c.pod, ceiling(1_000));
    });

async function routesOf(host: Parameters<typeof ipJson>[0]): Promise<readonly unknown[]> {
  return (await ipJson(host, "route")).map((route) => route["dst"]);
}
