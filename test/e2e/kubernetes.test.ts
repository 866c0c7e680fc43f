// Hosts that are nodes of a cluster, from the API to the packets.
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { waitUntil } from "../../src/lab/wait.ts";
import { PREFIX } from "../kube/annotations.ts";
import type { FaultRule } from "../kube/api/faults.ts";
import { ipJson } from "../support/kernel-state.ts";
import { pingDuring } from "../support/pings.ts";
import { Cluster } from "./cluster.ts";
import { ceiling, complaints, hostsOf, untilPing, withPod } from "./hosts.ts";

const { signal } = new AbortController();

for (const backend of ["vxlan", "host-gw"])
  test(`flanneld connects the pods of a cluster's nodes by ${backend}; nodes join, move, leave; the API server fails; daemons are killed`, async () => {
    await using cluster = await Cluster.up({ hosts: 3, backend, signal });
    const { lab, api } = cluster;
    const [a, b, c] = hostsOf(lab, 3);
    if (a === undefined || b === undefined || c === undefined) throw new Error("no hosts");
    for (const from of [a, b, c])
      for (const to of [a, b, c]) if (from !== to) await untilPing(from.pod, to.pod, ceiling(1_000));
    expect((await lab.ping()).filter(({ time }) => time === undefined)).toEqual([]);
    expect(a.subnetEnv().subnet).toMatchObject({ length: 24 });

    // A node joins.
    const late = await lab.addHost();
    await cluster.join(late);
    const joined = withPod(late);
    await untilPing(a.pod, joined.pod, ceiling(1_000));

    // Its address changes: it moves, and its flannel comes back there.
    await joined.daemon.stop("SIGTERM");
    const moved = a.address.replace(/\.\d+$/, ".77");
    await joined.namespace.ip([`addr del ${joined.address}/24 dev eth0`, `addr add ${moved}/24 dev eth0`]);
    await joined.namespace.ip([`route replace default via ${cluster.gateway}`]);
    await joined.startDaemon();
    await untilPing(a.pod, joined.pod, ceiling(1_000));

    // Its annotations are taken away, and written again by its flannel, which sees that.
    const names = ["kube-subnet-manager", "public-ip", "backend-type", "backend-data"];
    const none = Object.fromEntries(names.map((name) => [`${PREFIX}${name}`, null]));
    await api.call("annotate", joined.name, none);
    await untilPing(a.pod, joined.pod, 10_000);

    // Another daemon's annotations, in which ours are told to go elsewhere, are followed.
    await joined.daemon.stop("SIGKILL");
    await api.call("annotate", joined.name, { [`${PREFIX}public-ip`]: b.address });
    const leadsTo = async (address: string) => JSON.stringify(await waysTo(a, backend)).includes(address);
    await waitUntil(async () => !(await leadsTo(moved)), {
      signal,
      within: ceiling(1_000),
      what: `${a.name} no longer sends anything to ${moved}`,
    });

    // A node is deleted.
    const subnet = `10.5.${joined.name.slice(1)}.0/24`;
    await api.call("removeNode", joined.name);
    await waitUntil(async () => !(await ipJson(a, "route")).some((route) => route["dst"] === subnet), {
      signal,
      within: ceiling(1_000),
      what: `${subnet} is gone from ${a.name}`,
    });

    // kill -9, again and again, and an API server that does everything wrong, while pings go on.
    const faults: readonly FaultRule[] = [
      { verb: "watch", times: 4, fault: { kind: "status", code: 500 } },
      { verb: "list", times: 2, fault: { kind: "status", code: 429, retryAfter: 1 } },
      { verb: "get", times: 2, fault: { kind: "reset" } },
      { verb: "list", times: 2, fault: { kind: "truncate", bytes: 300 } },
    ];
    const { sent, lost, missing } = await pingDuring(b.pod, { to: a.pod.address, signal }, async () => {
      for (let restart = 0; restart < 3; restart++) await a.daemon.restart("SIGKILL", { signal });
      await api.call("faults.add", ...faults);
      await api.call("dropConnections");
      await a.daemon.restart("SIGKILL", { signal, within: 30_000 });
      await api.call("stop");
      await delay(2_000);
      await api.call("faults.clear");
      await api.call("resume");
    });
    expect({ lost, missing }).toEqual({ lost: 0, missing: [] });
    expect(sent).toBeGreaterThan(100);

    // In the end everyone is there again, and what is told now arrives.
    await lab.hosts
      .at(-1)
      ?.daemon.stop("SIGKILL")
      .catch(() => undefined);
    await cluster.join(await lab.addHost());
    await untilPing(b.pod, withPod(lab.hosts.at(-1)).pod, 20_000);
    expect(complaints(c).filter((line) => !/the store is away|refuses us/.test(line))).toEqual([]);
  });

/** Where a host sends packets for others, by whatever way the backend does. */
async function waysTo(host: Parameters<typeof ipJson>[0], backend: string): Promise<unknown> {
  if (backend === "host-gw") return await ipJson(host, "route");
  return await host.run(["bridge", "-j", "fdb", "show", "dev", "flannel.1"]);
}

test("flanneld takes the interface and the public IP that its node's annotation names", async () => {
  await using cluster = await Cluster.up({ hosts: 2, backend: "host-gw", signal });
  const { lab, api } = cluster;
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  const second = a.address.replace(/\.\d+$/, ".99");
  await b.namespace.ip([`addr add ${second}/24 dev eth0`]);
  await api.call("annotate", b.name, { [`${PREFIX}node-public-ip`]: second });
  await b.daemon.restart("SIGTERM", { signal });
  const route = async () => (await ipJson(a, "route")).find(({ dst }) => dst === "10.5.2.0/24")?.["gateway"];
  await waitUntil(async () => (await route()) === second, {
    signal,
    within: ceiling(1_000),
    what: `${a.name} sends by ${second}`,
  });
  expect(b.daemon.log()).toContain(`publicIP=${second}`);

  // What was asked of the API, and nothing else.
  const calls = (await api.calls()).filter(({ user }) => user === "system:serviceaccount:kube-flannel:flannel");
  expect(new Set(calls.map(({ verb, resource }) => `${verb} ${resource}`))).toEqual(
    new Set(["get nodes", "list nodes", "watch nodes", "patch nodes/status"]),
  );
});
