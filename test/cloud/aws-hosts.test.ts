// Three hosts whose network routes by a VPC's route table: metadata at its real address, EC2 by TLS with an authority of its own.
import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { ceiling, complaints, deleteLease, hostsOf, subnetOf, untilPing, withPod } from "../e2e/hosts.ts";
import { tcpDelivers } from "../support/tcp.ts";
import { SECRETS } from "./aws.ts";
import { AwsLab } from "./aws-lab.ts";
import { cleanUp, strangeLines } from "./cloud-lab.ts";
import { SUBNET_TABLE } from "./fake-vpc.ts";

const { signal } = new AbortController();
const BACKEND = { Type: "aws-vpc", CheckInterval: 5 };

test("three hosts of a VPC: pods reach each other, restarts change nothing, drift is repaired, black holes go", async () => {
  await using lab = await Lab.up({ hosts: 3, pods: 0, daemons: false, backend: BACKEND, signal });
  await using aws = await AwsLab.open(lab);
  await Promise.all(lab.hosts.map((host) => host.startDaemon()));
  for (const host of lab.hosts) await host.addPod();
  const [a, b, c] = hostsOf(lab, 3);
  if (a === undefined || b === undefined || c === undefined) throw new Error("no hosts");

  for (const from of [a, b, c])
    for (const to of [a, b, c]) if (from !== to) await untilPing(from.pod, to.pod, ceiling(2_000));
  expect(await tcpDelivers(a.pod, c.pod, { signal })).toBe(true);
  const right = [a, b, c].map((host) => `${subnetOf(host)} ${aws.instance(host).networkInterface}`).toSorted();
  expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual(right);
  expect([a, b, c].map((host) => aws.instance(host).sourceDestCheck)).toEqual([false, false, false]);

  aws.api.calls.length = 0;
  await a.daemon.restart("SIGTERM");
  await b.daemon.restart("SIGKILL");
  await untilPing(a.pod, b.pod, ceiling(2_000));
  expect(aws.api.changing).toEqual([]);

  await aws.vpc.unset(SUBNET_TABLE, subnetOf(c));
  await untilPing(a.pod, c.pod, ceiling(2_000), false);
  await untilPing(a.pod, c.pod, 20_000);

  // Somebody lets a's subnet go to b.
  await aws.vpc.set(SUBNET_TABLE, subnetOf(a), aws.instance(b).networkInterface);
  await untilPing(c.pod, a.pod, 20_000);

  // A host dies: its route leads nowhere, and goes once nobody holds the subnet.
  const gone = subnetOf(c);
  await c.daemon.stop("SIGKILL");
  await aws.vpc.setRunning(aws.instance(c), false);
  await deleteLease(lab, c);
  await waitUntil(() => !aws.vpc.routesOf(SUBNET_TABLE).some((route) => route.startsWith(gone)), {
    signal,
    within: 20_000,
    what: "the black hole is gone",
  });
  await aws.vpc.setRunning(aws.instance(c), true);
  await c.startDaemon();
  await untilPing(a.pod, withPod(c).pod, ceiling(2_000));

  expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual(right);

  // What one host leaves behind is taken away by its own command, and no other's.
  await b.daemon.stop();
  const own = `${subnetOf(b)} via ${aws.instance(b).networkInterface} in ${SUBNET_TABLE}`;
  expect(await cleanUp(b, "--dry-run")).toEqual([own]);
  expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual(right);
  expect(await cleanUp(b)).toEqual([own]);
  expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual(right.filter((route) => !route.startsWith(subnetOf(b))));
  expect(await cleanUp(b)).toEqual([]);

  for (const host of [a, b, c]) {
    expect(complaints(host)).toEqual([]);
    expect(strangeLines(host)).toEqual([]);
    for (const secret of [SECRETS.secret, SECRETS.token]) expect(host.daemon.log()).not.toContain(secret);
  }
});
