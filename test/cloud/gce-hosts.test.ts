// Three hosts whose network routes by a project's routes: metadata at its real address, the compute API by TLS with an authority of its own.
import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { ceiling, complaints, deleteLease, hostsOf, subnetOf, untilPing } from "../e2e/hosts.ts";
import { strangeLines } from "./cloud-lab.ts";
import { GceLab } from "./gce-lab.ts";

const { signal } = new AbortController();
const BACKEND = { Type: "gce", CheckInterval: 5 };

test("three hosts of a project: pods reach each other, restarts change nothing, drift is repaired, dead routes go", async () => {
  await using lab = await Lab.up({ hosts: 3, pods: 0, daemons: false, backend: BACKEND, signal });
  await using gce = await GceLab.open(lab);
  await Promise.all(lab.hosts.map((host) => host.startDaemon()));
  for (const host of lab.hosts) await host.addPod();
  const [a, b, c] = hostsOf(lab, 3);
  if (a === undefined || b === undefined || c === undefined) throw new Error("no hosts");
  const name = (subnet: string) => `flannel-${subnet.replaceAll(/[./]/g, "-")}`;

  for (const from of [a, b, c])
    for (const to of [a, b, c]) if (from !== to) await untilPing(from.pod, to.pod, ceiling(2_000));
  const right = [a, b, c]
    .map((host) => `${name(subnetOf(host))} ${subnetOf(host)} ${gce.instance(host).name}`)
    .toSorted();
  expect(gce.api.lines).toEqual(right);

  gce.api.calls.length = 0;
  await a.daemon.restart("SIGTERM");
  await b.daemon.restart("SIGKILL");
  await untilPing(a.pod, b.pod, ceiling(2_000));
  expect(gce.api.changing).toEqual([]);

  await gce.api.remove(name(subnetOf(b)));
  await untilPing(a.pod, b.pod, ceiling(2_000), false);
  await untilPing(a.pod, b.pod, 20_000);

  const gone = subnetOf(c);
  await c.daemon.stop("SIGKILL");
  await gce.api.set(gce.instance(c), { state: "deleted" });
  await deleteLease(lab, c);
  await waitUntil(() => !gce.api.lines.some((line) => line.includes(gone)), {
    signal,
    within: 20_000,
    what: "the dead instance's route is gone",
  });

  // An instance that may not forward: the log says so, and nothing of its pods arrives.
  expect([...complaints(a), ...complaints(b)]).toEqual([]);
  await gce.api.set(gce.instance(b), { canIpForward: false });
  await untilPing(b.pod, a.pod, ceiling(2_000), false);
  await waitUntil(() => complaints(b).some((line) => line.includes("IP forwarding is off on instance node-2")), {
    signal,
    within: 20_000,
    what: "the log says that forwarding is off",
  });
  for (const host of [a, b, c]) {
    expect(host.daemon.log()).not.toContain(gce.metadata.token);
    expect(strangeLines(host)).toEqual([]);
  }
});
