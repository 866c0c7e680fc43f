import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost, LabPod } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { capture } from "../support/capture.ts";
import { ipJson } from "../support/kernel-state.ts";
import { pingDuring } from "../support/pings.ts";
import { cpuSeconds, peakResidentMiB, residentMiB } from "../support/process-usage.ts";
import { iperf3, tcpDelivers } from "../support/tcp.ts";

const { signal } = new AbortController();
let lab: Lab;
let host: LabHost;
let one: LabPod;
let other: LabPod;

beforeAll(async () => {
  const flanneld = [process.execPath, join(import.meta.dirname, "fake-flanneld.mjs")];
  lab = await Lab.up({ hosts: 2, config: null, flanneld, signal });
  const pods = lab.hosts.flatMap((host) => host.pods);
  if (lab.hosts[0] === undefined || pods[0] === undefined || pods[1] === undefined) throw new Error("the lab is empty");
  [host, one, other] = [lab.hosts[0], pods[0], pods[1]];
});
afterAll(() => lab.down());

test("pingDuring() loses nothing while nothing happens", async () => {
  const { lost, sent, result } = await pingDuring(one, { to: other.address, signal }, async () => {
    const { stdout } = await one.exec(["sleep", "0.5"]);
    return stdout;
  });
  expect({ lost, result }).toEqual({ lost: 0, result: "" });
  expect(sent).toBeGreaterThan(20);
});

test("pingDuring() counts what is lost while the cable is out", async () => {
  const { lost, sent } = await pingDuring(one, { to: other.address, signal }, async () => {
    await lab.switch.setCable("h2", "down");
    await host.exec(["sleep", "1"]);
    await lab.switch.setCable("h2", "up");
  });
  expect(lost).toBeGreaterThan(10);
  expect(lost).toBeLessThan(sent);
});

test("pingDuring() counts all that follows if the path stays dead", async () => {
  const cut = () => lab.switch.setCable("h2", "down");
  const { lost } = await pingDuring(one, { to: other.address, signal }, cut);
  await lab.switch.setCable("h2", "up");
  await waitUntil(async () => (await lab.ping({ timeout: 1_000 })).every(({ time }) => time !== undefined), {
    signal,
    within: 20_000,
    what: "the path is back",
  });
  expect(lost).toBeGreaterThan(20); // of 200, where ping has the processor 100 times a second
});

test("tcpDelivers() is true if the other pod has every byte", async () => {
  expect(await tcpDelivers(one, other, { signal })).toBe(true);
});

test("tcpDelivers() rejects if the other pod cannot be reached", async () => {
  await one.run(["ip", "route", "add", "unreachable", other.address]);
  try {
    await expect(tcpDelivers(one, other, { signal })).rejects.toThrow("EHOSTUNREACH");
  } finally {
    await one.run(["ip", "route", "del", "unreachable", other.address]);
  }
});

test("iperf3() measures the way from one pod to the other", async () => {
  const { bitsPerSecond } = await iperf3(one, other, { signal, seconds: 1 });
  expect(bitsPerSecond).toBeGreaterThan(1e6);
});

test("capture() sees what passes the filter, and only that", async () => {
  const watching = await capture(host, { link: "eth0", filter: "icmp[icmptype] == icmp-echo", signal });
  await one.run(["ping", "-n", "-c", "3", "-i", "0.01", other.address]);
  const packets = await watching.stop(3);
  expect(packets).toHaveLength(3);
  expect(packets[0]).toContain(`IP ${one.address} > ${other.address}: ICMP echo request`);
});

test("ipJson() has what the kernel has", async () => {
  const routes = await ipJson(host, "route", "show", "10.5.2.0/24");
  expect(routes).toMatchObject([{ dst: "10.5.2.0/24", gateway: lab.hosts[1]?.address, dev: "eth0" }]);
});

test("residentMiB() and cpuSeconds() are those of a running program", () => {
  const pid = host.daemon.pid ?? 0;
  expect(residentMiB(pid)).toBeGreaterThan(20);
  expect(peakResidentMiB(pid)).toBeGreaterThanOrEqual(residentMiB(pid));
  expect(cpuSeconds(pid)).toBeGreaterThan(0);
  expect(() => residentMiB(0x7fff_fff0)).toThrow("ENOENT");
});
