import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { parseLabName } from "../../src/lab/address-plan.ts";
import { namespacesOf } from "../../src/lab/dismantle.ts";
import { launcher } from "../../src/lab/launcher.ts";
import { labDirectory } from "../../src/lab/record.ts";

const name = parseLabName("tdemo");

test("flannel lab demo shows leases, the device, entries and routes as they are, and the full matrix", () => {
  const argv = ["lab", "demo", "--name", name];
  const { status, stdout, stderr } = spawnSync(launcher("flannel"), argv, { encoding: "utf8", cwd: "/" });
  expect(stderr).toContain("starting flanneld on 3 hosts, backend vxlan");

  const subnets = [...stdout.matchAll(/^ +(10\.5\.\d+\.0\/24) +(192\.168\.77\.\d) +vxlan/gm)];
  expect(new Set(subnets.map(([, , host]) => host))).toEqual(new Set(["192.168.77.1", "192.168.77.2", "192.168.77.3"]));
  expect(stdout).toMatch(/^ +vxlan id 1 .*dstport 8472/m);
  const peers = subnets.filter(([, , host]) => host !== "192.168.77.1");
  for (const [, subnet = "", host = ""] of peers) {
    const gateway = subnet.replace("/24", "");
    const mac = new RegExp(`^ +${gateway} lladdr (\\S+) PERMANENT`, "m").exec(stdout)?.[1];
    expect(stdout).toContain(`${mac} dst ${host} self permanent`);
    expect(stdout).toMatch(new RegExp(`^ +${subnet} .*via ${gateway} dev flannel\\.1 .*onlink`, "m"));
  }
  expect(stdout).toContain("6 of 6 pairs of pods reach each other");
  expect(status).toBe(0);
  expect(namespacesOf(name)).toEqual([]);
  expect(existsSync(labDirectory(name))).toBe(false);
});
