import { afterEach, expect, test } from "vitest";
import { Lab, type LabOptions } from "../../src/lab/lab.ts";
import { isComplete } from "../../src/lab/matrix.ts";
import type { StoreKind } from "../../src/lab/record.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { tcpDelivers } from "../support/tcp.ts";

const { signal } = new AbortController();
let lab: Lab | undefined;
afterEach(() => lab?.down());

async function up(options: Omit<LabOptions, "signal">): Promise<Lab> {
  lab = await Lab.up({ ...options, signal });
  return lab;
}

/** Whether every pod reaches every other, at once or soon. */
async function reached(lab: Lab, within = 5000): Promise<true> {
  return await waitUntil(async () => isComplete(await lab.ping({ timeout: 500 })), {
    signal,
    within,
    what: "all pods reach each other",
  });
}

const combinations = (["host-gw", "vxlan"] as const).flatMap((backend) =>
  (["embedded", "etcd2", "etcd3"] as const).map((store): [string, StoreKind] => [backend, store]),
);

test.each(combinations)("Lab.up() with %s on %s gives pods that reach each other", async (backend, store) => {
  const lab = await up({ hosts: 3, backend, store });
  expect(await reached(lab)).toBe(true);
  const mtu = lab.hosts[0]?.subnetEnv().mtu ?? 0;
  expect(mtu).toBe(backend === "vxlan" ? 1450 : 1500);
  expect(isComplete(await lab.ping({ size: mtu }))).toBe(true);
  const [one, , three] = lab.hosts.flatMap((host) => host.pods);
  if (one === undefined || three === undefined) throw new Error("there are no pods");
  expect(await tcpDelivers(one, three, { signal })).toBe(true);
});

test("Lab.addHost() gives a host that is reachable within 1 s", async () => {
  const lab = await up({ hosts: 2 });
  await reached(lab);
  await lab.addHost();
  expect(await reached(lab, 1000)).toBe(true);
});

test("Service.stop() with SIGTERM ends flanneld with 0 within 1 s", async () => {
  const lab = await up({ hosts: 1, pods: 0 });
  const daemon = lab.hosts[0]?.daemon;
  expect(await daemon?.stop("SIGTERM", { within: 1000 })).toBe(0);
});
