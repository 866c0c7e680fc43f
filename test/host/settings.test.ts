import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { launcher } from "../../src/lab/launcher.ts";
import type { Place } from "../../src/lab/place.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { ceiling, complaints, hostsOf, untilPing } from "../e2e/hosts.ts";

const { signal } = new AbortController();
const WITHIN = ceiling(2_000);

let lab: Lab;
let a: LabHost & { readonly pod: Place };
let b: LabHost & { readonly pod: Place };

beforeAll(async () => {
  lab = await Lab.up({ hosts: 2, backend: "vxlan", signal });
  [a, b] = hostsOf(lab, 2) as [typeof a, typeof b];
  await a.daemon.stop();
  await a.namespace.sysctl(1, "net/ipv4/conf/all/rp_filter");
});
afterAll(() => lab?.down());

async function becomes(key: string, value: string): Promise<void> {
  await waitUntil(async () => (await a.run(["sysctl", "-n", key])).trim() === value, {
    signal,
    within: WITHIN,
    what: `${key} is ${value}`,
  });
}

test("flanneld names the rp_filter that keeps a remote pod from this host's own address, and changes nothing", async () => {
  await a.startDaemon();
  await waitUntil(() => complaints(a).length > 0, { signal, within: WITHIN, what: "the daemon warns" });
  expect(complaints(a).join("\n")).toMatch(
    /this host drops packets between pods and other hosts' own addresses sysctl="net\.ipv4\.conf\.eth0\.rp_filter = 0 \(all: 1\)" remedy="--configure-host, or sysctl -w net\.ipv4\.conf\.eth0\.rp_filter=2"/,
  );
  await untilPing(b.pod, a.pod, WITHIN);
  await untilPing(b.pod, a, WITHIN, false);
  expect(await a.run(["sysctl", "-n", "net.ipv4.conf.eth0.rp_filter"])).toBe("0\n");
});

test("flanneld --configure-host sets what is wrong, keeps it so, and remembers what it was", async () => {
  await a.daemon.stop();
  await a.namespace.sysctl(0, "net/ipv4/ip_forward");
  const said = complaints(a).length;
  a.daemon.argv = [...a.daemon.argv, "--configure-host"];
  await a.startDaemon();
  await becomes("net.ipv4.ip_forward", "1");
  await untilPing(b.pod, a, WITHIN);
  await untilPing(b.pod, a.pod, WITHIN);
  for (const [key, wrong, right] of [
    ["net/ipv4/ip_forward", 0, "1"],
    ["net/ipv4/conf/flannel.1/rp_filter", 1, "2"],
    ["net/ipv4/conf/flannel.1/forwarding", 0, "1"],
  ] as const) {
    await a.namespace.sysctl(wrong, key);
    await becomes(key, right);
  }
  expect(a.daemon.log()).toMatch(/changed a setting of this host.* sysctl="net\.ipv4\.ip_forward = 1" was=0/);
  expect(a.daemon.log()).toMatch(/repairing rows that were changed by others table="host settings"/);
  expect(complaints(a).slice(said)).toEqual([]);
  // The device is made anew: its values are the kernel's again.
  await a.namespace.ip(["link del flannel.1"]);
  await becomes("net/ipv4/conf/flannel.1/rp_filter", "2");
  const record = JSON.parse(readFileSync(join(a.stateDirectory, "sysctls.json"), "utf8"));
  expect(record.changed).toEqual(
    expect.arrayContaining([
      { key: "net/ipv4/ip_forward", found: "0", set: "1" },
      { key: "net/ipv4/conf/eth0/rp_filter", found: "0", set: "2" },
    ]),
  );
});

test("flannel cleanup leaves alone a setting that somebody else has changed since", async () => {
  await a.daemon.stop();
  await a.namespace.sysctl(1, "net/ipv4/conf/eth0/rp_filter");
  const files = [`--state-dir=${a.stateDirectory}`, `--subnet-file=${a.subnetFile}`, "--subnet-dir=/nowhere"];
  const { removed, leftAlone } = JSON.parse(await a.run([launcher("flannel"), "cleanup", "--json", ...files]));
  expect(removed).toContainEqual({ kind: "sysctl", name: "net.ipv4.ip_forward = 1, was 0" });
  expect(leftAlone).toEqual([
    {
      kind: "sysctl",
      name: "net.ipv4.conf.eth0.rp_filter = 1, was 0",
      reason: "flannel set it to 2; somebody else has changed it since",
    },
  ]);
  expect(await a.run(["sysctl", "-n", "net.ipv4.ip_forward", "net.ipv4.conf.eth0.rp_filter"])).toBe("0\n1\n");
});
