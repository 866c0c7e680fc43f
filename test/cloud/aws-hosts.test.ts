// Three hosts whose network routes by a VPC's route table: metadata at its real address, EC2 by TLS with an authority of its own.
import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { complaints, deleteLease, hostsOf, PATIENCE, withPod } from "../e2e/hosts.ts";
import { tcpDelivers } from "../support/tcp.ts";
import { SECRETS } from "./aws.ts";
import { AwsLab } from "./aws-lab.ts";
import { cleanUp, strangeLines, subnetsOf, untilAllPing, untilPings } from "./cloud-lab.ts";
import { SUBNET_TABLE } from "./fake-vpc.ts";

const { signal } = new AbortController();
const BACKEND = { Type: "aws-vpc", CheckInterval: 5 };

test("three hosts of a VPC: pods reach each other by IPv4 and IPv6, restarts change nothing, drift is repaired, black holes go", async () => {
  await using lab = await Lab.up({ hosts: 3, pods: 0, daemons: false, backend: BACKEND, ipv6: "too", signal });
  await using aws = await AwsLab.open(lab);
  await Promise.all(lab.hosts.map((host) => host.startDaemon()));
  for (const host of lab.hosts) await host.addPod();
  const [a, b, c] = hostsOf(lab, 3);
  if (a === undefined || b === undefined || c === undefined) throw new Error("no hosts");
  const routesTo = (host: LabHost) =>
    subnetsOf(host).map((subnet) => `${subnet} ${aws.instance(host).networkInterface}`);

  await untilAllPing(lab);
  expect(await tcpDelivers(a.pod, c.pod, { signal })).toBe(true);
  const right = [a, b, c].flatMap(routesTo).toSorted();
  expect(right).toHaveLength(6);
  expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual(right);
  expect([a, b, c].map((host) => aws.instance(host).sourceDestCheck)).toEqual([false, false, false]);

  aws.api.calls.length = 0;
  await Promise.all([a.daemon.restart("SIGTERM"), b.daemon.restart("SIGKILL")]);
  await untilPings(a.pod, b.pod);
  expect(aws.api.changing).toEqual([]);
  // Both families share one look at the instance.
  expect([...a.daemon.log().matchAll(/this host is an EC2 instance/g)]).toHaveLength(2);

  // Somebody lets a's subnets go to b, and takes b's routes away. c dies: its routes lead nowhere, and go once nobody holds the subnets.
  const gone = routesTo(c);
  await c.daemon.stop("SIGKILL");
  await aws.vpc.setRunning(aws.instance(c), false);
  await deleteLease(lab, c);
  for (const { daemon } of [a, b]) daemon.signal("SIGSTOP"); // else they may be quicker than who looks
  for (const subnet of subnetsOf(a)) await aws.vpc.set(SUBNET_TABLE, subnet, aws.instance(b).networkInterface);
  for (const subnet of subnetsOf(b)) await aws.vpc.unset(SUBNET_TABLE, subnet);
  await untilPings(a.pod, b.pod, PATIENCE, false);
  // One after the other: b takes away what leads to it and is not its own, which a, at the same moment, would want to replace.
  a.daemon.signal("SIGCONT");
  const isRight = () => routesTo(a).every((route) => aws.vpc.routesOf(SUBNET_TABLE).includes(route));
  await waitUntil(isRight, { signal, within: PATIENCE, what: "a's routes lead to it again" });
  b.daemon.signal("SIGCONT");
  await untilPings(a.pod, b.pod);
  await waitUntil(() => !aws.vpc.routesOf(SUBNET_TABLE).some((route) => gone.includes(route)), {
    signal,
    within: PATIENCE,
    what: "the black holes are gone",
  });
  await aws.vpc.setRunning(aws.instance(c), true);
  await c.startDaemon();
  await untilPings(a.pod, withPod(c).pod);

  expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual(right);

  // What one host leaves behind is taken away by its own command, and no other's.
  await b.daemon.stop();
  const own = subnetsOf(b).map((subnet) => `${subnet} via ${aws.instance(b).networkInterface} in ${SUBNET_TABLE}`);
  const others = right.filter((route) => !routesTo(b).includes(route));
  expect(await cleanUp(b, "--dry-run")).toEqual(own);
  expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual(right);
  expect(await cleanUp(b)).toEqual(own);
  expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual(others);
  expect(await cleanUp(b)).toEqual([]);

  for (const host of [a, b, c]) {
    expect(complaints(host)).toEqual([]);
    expect(strangeLines(host)).toEqual([]);
    for (const secret of [SECRETS.secret, SECRETS.token]) expect(host.daemon.log()).not.toContain(secret);
  }
});

test("hosts of a subnet that has IPv6 alone: pods reach each other, a restart changes nothing, and what is left is taken away", async () => {
  await using lab = await Lab.up({ hosts: 2, pods: 0, daemons: false, backend: BACKEND, ipv6: "only", signal });
  await using aws = await AwsLab.open(lab, { isIPv6Only: true });
  await Promise.all(lab.hosts.map((host) => host.startDaemon()));
  for (const host of lab.hosts) await host.addPod();
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  await untilAllPing(lab);
  const routes = [a, b].flatMap((host) =>
    subnetsOf(host).map((subnet) => `${subnet} ${aws.instance(host).networkInterface}`),
  );
  expect(routes).toEqual([expect.stringMatching(/^fd00:5:/), expect.stringMatching(/^fd00:5:/)]);
  expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual(routes.toSorted());

  aws.api.calls.length = 0;
  await a.daemon.restart("SIGKILL");
  await untilAllPing(lab);
  expect(aws.api.changing).toEqual([]);

  await b.daemon.stop();
  expect(await cleanUp(b)).toHaveLength(1);
  expect(aws.vpc.routesOf(SUBNET_TABLE)).toEqual(routes.slice(0, 1));
  expect([...complaints(a), ...complaints(b)]).toEqual([]);
});
