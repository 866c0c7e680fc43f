// Hosts that are nodes of a cluster, from the API to the packets.
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { ceiling, complaints, untilPing } from "../e2e/hosts.ts";
import { httpProbe } from "../support/http-probe.ts";
import { fdbJson, ipJson } from "../support/kernel-state.ts";
import { pingDuring } from "../support/pings.ts";
import { annotations, PREFIX } from "./annotations.ts";
import type { FaultRule } from "./api/faults.ts";
import { Cluster } from "./cluster.ts";

const { signal } = new AbortController();

for (const backend of ["vxlan", "host-gw"])
  test(`flanneld connects the pods of a cluster's nodes by ${backend}; nodes join, move, leave; the API server fails; daemons are killed`, async () => {
    await using cluster = await Cluster.up({ hosts: 3, backend, flags: ["--ip-masq"], signal });
    const { lab, api } = cluster;
    const [a, b, c] = cluster.nodes;
    if (a === undefined || b === undefined || c === undefined) throw new Error("no hosts");
    for (const from of [a, b, c]) for (const to of [a, b, c]) if (from !== to) await untilPing(from.pod, to.pod);
    expect(a.subnetEnv().subnet).toMatchObject({ length: 24 });

    // A node joins.
    const joined = await cluster.join(await lab.addHost());
    await untilPing(a.pod, joined.pod, ceiling(1_000));

    // Its address changes under its flannel, which says so; the others follow.
    const moved = a.address.replace(/\.\d+$/, ".77");
    await joined.namespace.ip([`addr del ${joined.address}/24 dev eth0`, `addr add ${moved}/24 dev eth0`]);
    await joined.namespace.ip([`route replace default via ${cluster.gateway}`]);
    const goesBy = (address: string | undefined) =>
      waitUntil(async () => (await wayTo(a, joined.name, backend)) === address, {
        signal,
        within: ceiling(1_000),
        what: `${a.name} sends for ${joined.name} ${address === undefined ? "nowhere" : `to ${address}`}`,
      });
    await goesBy(moved);
    await untilPing(a.pod, joined.pod, ceiling(1_000));

    // Its annotations are taken away: its pods are nowhere, until its flannel writes them again, which was held up meanwhile.
    joined.daemon.signal("SIGSTOP");
    const names = ["kube-subnet-manager", "public-ip", "backend-type", "backend-data"];
    const none = Object.fromEntries(names.map((name) => [`${PREFIX}${name}`, null]));
    await api.call("annotate", joined.name, none);
    await goesBy(undefined);
    joined.daemon.signal("SIGCONT");
    await goesBy(moved);
    await untilPing(a.pod, joined.pod, ceiling(1_000));

    // Another daemon's annotations, in which ours are told to go elsewhere, are followed.
    await joined.daemon.stop("SIGKILL");
    await api.call("annotate", joined.name, { [`${PREFIX}public-ip`]: b.address });
    await goesBy(b.address);

    // A node is deleted.
    await api.call("removeNode", joined.name);
    await goesBy(undefined);

    // kill -9, again and again, and an API server that does everything wrong, while pings go on.
    const faults: readonly FaultRule[] = [
      { verb: "watch", times: 4, fault: { kind: "status", code: 500 } },
      { verb: "list", times: 2, fault: { kind: "status", code: 429, retryAfter: 1 } },
      { verb: "get", times: 2, fault: { kind: "reset" } },
      { verb: "list", times: 2, fault: { kind: "truncate", bytes: 300 } },
    ];
    const { sent, lost, missing } = await pingDuring(b.pod, { to: a.pod.address, signal }, async () => {
      for (let restart = 0; restart < 2; restart++) await a.daemon.restart("SIGKILL", { signal });
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
    const last = await cluster.join(await lab.addHost());
    await untilPing(b.pod, last.pod, 20_000).catch((cause: unknown) => {
      throw new Error(`what ${b.name} wrote:\n${b.daemon.log()}\nand ${last.name}:\n${last.daemon.log()}`, { cause });
    });
    expect(complaints(c).filter((line) => !/the store is away|refuses us/.test(line))).toEqual([]);
  });

/** Where a host sends packets for a node's pods, by whatever way the backend does. */
async function wayTo(host: LabHost, node: string, backend: string): Promise<unknown> {
  const routes = await ipJson(host, "route", "show", `10.5.${node.slice(1)}.0/24`);
  const gateway = routes[0]?.["gateway"];
  if (typeof gateway !== "string" || backend === "host-gw") return gateway;
  const neighbors = await ipJson(host, "neigh", "show", gateway, "dev", "flannel.1");
  const mac = neighbors[0]?.["lladdr"];
  return (await fdbJson(host, "flannel.1")).find((row) => row["mac"] === mac)?.["dst"];
}

test("flanneld as a pod waits for its node, is known by its pod or by NODE_NAME, takes the public IP of an annotation, and goes on with a renewed token", async () => {
  const flags = ["--healthz-ip=127.0.0.1", "--healthz-port=8081"];
  await using cluster = await Cluster.up({ hosts: 0, backend: "host-gw", flags, signal });
  const { lab, api } = cluster;
  const [a, b] = [await lab.addHost(), await lab.addHost()];
  const pod = { POD_NAME: "kube-flannel-ds-x7", POD_NAMESPACE: "kube-flannel" };
  const metadata = { name: pod.POD_NAME, namespace: pod.POD_NAMESPACE };
  await api.call("create", { apiVersion: "v1", kind: "Pod", metadata, spec: { nodeName: b.name } });
  cluster.setUpPod(a, { NODE_NAME: a.name });
  cluster.setUpPod(b, pod);

  await a.daemon.start();
  const probe = (path: string) => httpProbe(a, { host: "127.0.0.1", port: 8081, path });
  await waitUntil(() => a.daemon.log().includes("our node is not registered yet"), {
    signal,
    within: 20_000,
    what: `${a.name} waits for its node`,
  });
  expect([await probe("/healthz"), await probe("/readyz")]).toEqual([
    "200 flanneld is running",
    "503 flanneld is not ready yet",
  ]);
  await api.call("addNode", a.name, ["10.5.1.0/24"]);
  await a.daemon.ready();

  const second = a.address.replace(/\.\d+$/, ".99");
  await b.namespace.ip([`addr add ${second}/24 dev eth0`]);
  await api.call("addNode", b.name, ["10.5.2.0/24"]);
  await api.call("annotate", b.name, { [`${PREFIX}node-public-ip`]: second });
  await b.startDaemon();
  const route = async (subnet: string) => (await ipJson(a, "route")).find(({ dst }) => dst === subnet)?.["gateway"];
  const sendsBy = (subnet: string, address: string) =>
    waitUntil(async () => (await route(subnet)) === address, {
      signal,
      within: ceiling(1_000),
      what: `${a.name} sends to ${subnet} by ${address}`,
    });
  await sendsBy("10.5.2.0/24", second);
  expect(b.daemon.log()).toContain(`publicIP=${second}`);
  const [from, to] = [await cluster.addPod(a), await cluster.addPod(b)];
  await untilPing(from.pod, to.pod);

  // The token runs out, and the connections with it.
  await cluster.renewToken();
  await api.call("dropConnections");
  await api.call("addNode", "peer", ["10.5.9.0/24"]);
  await api.call("annotate", "peer", annotations(second, { "backend-type": "host-gw", "backend-data": "null" }));
  await sendsBy("10.5.9.0/24", second);
  expect([await probe("/healthz"), await probe("/readyz")]).toEqual([
    "200 flanneld is running",
    "200 flanneld is ready",
  ]);

  // What was asked of the API, and nothing else; the pod only by who is known by it.
  const calls = (await api.calls()).filter(({ user }) => user === "system:serviceaccount:kube-flannel:flannel");
  expect(new Set(calls.map(({ verb, resource }) => `${verb} ${resource}`))).toEqual(
    new Set(["get nodes", "list nodes", "watch nodes", "patch nodes/status", "get pods"]),
  );
  expect(calls.filter(({ resource }) => resource === "pods")).toHaveLength(1);
  expect(complaints(b).filter((line) => !line.includes("the store is away"))).toEqual([]);
});
