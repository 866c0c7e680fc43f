// Three hosts whose network routes by a project's routes: metadata at its real address, the compute API by TLS with an authority of its own.
import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { complaints, deleteLease, hostsOf, PATIENCE } from "../e2e/hosts.ts";
import { cleanUp, strangeLines, subnetsOf, untilAllPing, untilPings } from "./cloud-lab.ts";
import { instancePath } from "./compute-api.ts";
import { GceLab } from "./gce-lab.ts";

const { signal } = new AbortController();
const BACKEND = { Type: "gce", CheckInterval: 5 };

test("three hosts of a project: pods reach each other by IPv4 and IPv6, restarts change nothing, drift is repaired, dead routes go", async () => {
  await using lab = await Lab.up({ hosts: 3, pods: 0, daemons: false, backend: BACKEND, ipv6: "too", signal });
  await using gce = await GceLab.open(lab);
  await Promise.all(lab.hosts.map((host) => host.startDaemon()));
  for (const host of lab.hosts) await host.addPod();
  const [a, b, c] = hostsOf(lab, 3);
  if (a === undefined || b === undefined || c === undefined) throw new Error("no hosts");
  const name = (subnet: string) => `flannel-${subnet.replaceAll(/[./:]/g, "-")}`;
  const routesTo = (host: LabHost) =>
    subnetsOf(host).map((subnet) => `${name(subnet)} ${subnet} ${gce.instance(host).name}`);

  await untilAllPing(lab);
  const right = [a, b, c].flatMap(routesTo).toSorted();
  expect(right).toHaveLength(6);
  expect(gce.api.lines).toEqual(right);

  gce.api.calls.length = 0;
  await Promise.all([a.daemon.restart("SIGTERM"), b.daemon.restart("SIGKILL")]);
  await untilPings(a.pod, b.pod);
  expect(gce.api.changing).toEqual([]);

  // Somebody takes b's routes away; c dies, and its routes go once nobody holds the subnets.
  const gone = routesTo(c);
  await c.daemon.stop("SIGKILL");
  await gce.api.set(gce.instance(c), { state: "deleted" });
  await deleteLease(lab, c);
  b.daemon.signal("SIGSTOP"); // else it may be quicker than who looks
  for (const subnet of subnetsOf(b)) await gce.api.remove(name(subnet));
  await untilPings(a.pod, b.pod, PATIENCE, false);
  b.daemon.signal("SIGCONT");
  await untilPings(a.pod, b.pod);
  await waitUntil(() => !gce.api.lines.some((line) => gone.includes(line)), {
    signal,
    within: PATIENCE,
    what: "the dead instance's routes are gone",
  });

  // What one host leaves behind is taken away by its own command, and no other's.
  await a.daemon.stop();
  const own = subnetsOf(a).map((subnet) => `${subnet} via ${instancePath(gce.instance(a).name)}`);
  expect(await cleanUp(a)).toEqual(own);
  expect(gce.api.lines).toEqual(routesTo(b).toSorted());
  expect([...complaints(a), ...complaints(b)]).toEqual([]);

  // An instance that may not forward: the log says so, and nothing of its pods arrives.
  await gce.api.set(gce.instance(a), { canIpForward: false });
  await a.startDaemon();
  const both = [...routesTo(a), ...routesTo(b)].toSorted();
  await waitUntil(() => gce.api.lines.join() === both.join(), {
    signal,
    within: PATIENCE,
    what: "both have their routes",
  });
  await waitUntil(() => complaints(a).some((line) => line.includes("IP forwarding is off on instance node-1")), {
    signal,
    within: PATIENCE,
    what: "the log says that forwarding is off",
  });
  await untilPings(a.pod, b.pod, PATIENCE, false);
  for (const host of [a, b, c]) {
    expect(host.daemon.log()).not.toContain(gce.metadata.token);
    expect(strangeLines(host)).toEqual([]);
  }
});
