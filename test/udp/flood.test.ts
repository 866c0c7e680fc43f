import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { hostsOf, PATIENCE, untilPing, withPod } from "../e2e/hosts.ts";
import { pingDuring } from "../support/pings.ts";
import { duplex } from "./duplex.ts";
import { floodDuring } from "./flood.ts";
import { counted } from "./snmp.ts";

// Needs root: network namespaces. Bounds are generous, since everything here shares the processors; the bench has the figures.

const { signal } = new AbortController();

async function up() {
  const lab = await Lab.up({ hosts: 2, backend: "udp", signal });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  await untilPing(a.pod, b.pod);
  return { lab, a, b, [Symbol.asyncDispose]: () => lab[Symbol.asyncDispose]() };
}

test("udp loses no packet of its peers while a stranger floods it, and TCP goes on", async () => {
  await using hosts = await up();
  const { lab, a, b } = hosts;
  const flood = { to: b.address, port: 8285, rate: 30_000, signal };
  const { perSecond, result: pings } = await floodDuring(lab.switch.namespace, flood, () =>
    pingDuring(a.pod, { to: b.pod.address, interval: 0.005, signal }, () => sleep(1000)),
  );
  expect(perSecond).toBeGreaterThan(5_000);
  expect(pings.lost).toBe(0);

  const bytes = 50_000_000;
  const alone = await duplex(a.pod, b.pod, { bytes, signal });
  const { result } = await floodDuring(lab.switch.namespace, flood, () => duplex(a.pod, b.pod, { bytes, signal }));
  expect([alone.isIntact, result.isIntact]).toEqual([true, true]);
  expect(result.seconds).toBeLessThan(10 + 5 * alone.seconds); // the machine itself may stand still for a while
});

/** Datagrams to a host's port that the kernel dropped: the last column of /proc/net/udp. */
async function kernelDrops(host: LabHost, port: number): Promise<number> {
  const local = `:${port.toString(16).toUpperCase()}`;
  const lines = (await host.run(["cat", "/proc/net/udp"])).split("\n").map((line) => line.trim().split(/\s+/));
  return Number(lines.find((fields) => fields[1]?.endsWith(local))?.at(-1));
}

test("udp has the kernel drop a flood as long as it lasts, lets in a peer that comes meanwhile, and loses none of its packets over a restart", async () => {
  await using hosts = await up();
  const { lab, a, b } = hosts;
  const [stranger, port] = [lab.switch.namespace, 8285];
  /** Whether the kernel drops what little a stranger sends. */
  const isGuarded = async () => {
    const before = await kernelDrops(b, port);
    const { sent } = await floodDuring(stranger, { to: b.address, port, rate: 25, signal }, () => sleep(400));
    return (await kernelDrops(b, port)) - before > sent / 2;
  };
  expect(await isGuarded()).toBe(false);
  const flood = { to: b.address, port, rate: 30_000, signal };
  const { result } = await floodDuring(stranger, flood, async () => {
    const isDropped = async () => (await kernelDrops(b, port)) > 3_000;
    await waitUntil(isDropped, { signal, within: PATIENCE, what: "the kernel drops it" });
    const late = withPod(await lab.addHost());
    await untilPing(late.pod, b.pod);
    // Meanwhile the socket's queue holds what peers send, and not what the stranger does.
    return await pingDuring(late.pod, { to: b.pod.address, signal }, () => b.daemon.restart("SIGTERM", { signal }));
  });
  expect(result.lost).toBe(0);
  await untilPing(a.pod, b.pod);
  // It is looked for the flood's end when nothing has come for 2 s, or 64 times something: a sample of this stranger's packets is something.
  await waitUntil(async () => !(await isGuarded()), { signal, within: 45_000, what: "it drops nothing any more" });
});

test("udp answers a flood to a subnet nobody has with ICMP errors as seldom as Linux would", async () => {
  await using hosts = await up();
  const { a } = hosts;
  const begin = performance.now();
  const flood = { to: "10.5.255.1", port: 9, rate: 20_000, signal };
  const { sent } = await floodDuring(a.pod, flood, () => sleep(500));
  const seconds = (performance.now() - begin) / 1000;
  const errors = await counted(a.pod, "Icmp", "InDestUnreachs");
  expect(sent).toBeGreaterThan(2_000);
  expect(errors).toBeGreaterThan(100);
  expect(errors).toBeLessThanOrEqual(50 + 1000 * seconds);
});
