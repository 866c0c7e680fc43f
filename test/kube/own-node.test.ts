import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { InvalidConfigError } from "../../src/lib/errors.ts";
import { failure } from "../../src/store/conformance/registry-bench.ts";
import { annotationKeys } from "../../src/store/kube/annotation-keys.ts";
import { annotations, PREFIX } from "./annotations.ts";
import { KubeBench, signal, VXLAN } from "./bench.ts";

test("acquireLease() annotates the node by one patch of its status, and again only what has changed", async () => {
  await using bench = await KubeBench.open();
  const manager = bench.manager();
  const lease = await bench.take(manager);
  expect(lease).toMatchObject({ subnet: parsePrefix("10.5.1.0/24"), attributes: VXLAN, isReservation: false });
  expect(bench.api.node("a")?.metadata.annotations).toMatchObject({
    [`${PREFIX}kube-subnet-manager`]: "true",
    [`${PREFIX}backend-type`]: "vxlan",
    [`${PREFIX}backend-data`]: '{"VNI":1,"VtepMAC":"0a:00:00:00:00:01"}',
    [`${PREFIX}public-ip`]: "192.0.2.1",
    "volumes.kubernetes.io/controller-managed-attach-detach": "true",
  });
  expect(await bench.take(manager)).toEqual(lease);
  expect(bench.calls("patch")).toHaveLength(1);
  await manager.updateLease("", lease, { ...VXLAN, backendData: "new" }, { signal });
  const [, second] = bench.calls("patch");
  expect(second?.resource).toBe("nodes/status");
  expect(JSON.parse(second?.body ?? "")).toEqual({ metadata: { annotations: { [`${PREFIX}backend-data`]: '"new"' } } });
  expect(bench.calls("update")).toEqual([]);
});

test("acquireLease() writes null for a backend without data, and takes away what a dual-stack flannel wrote before", async () => {
  await using bench = await KubeBench.open();
  bench.api.annotate("a", annotations("192.0.2.9", { "backend-v6-data": "{}", "public-ipv6": "fd00::1" }));
  await bench.take(bench.manager(), { publicIP: parseAddress("192.0.2.1"), backendType: "host-gw" });
  const written = bench.api.node("a")?.metadata.annotations;
  expect(written).toMatchObject({ [`${PREFIX}backend-data`]: "null", [`${PREFIX}backend-type`]: "host-gw" });
  expect(written).not.toHaveProperty([`${PREFIX}backend-v6-data`]);
  expect(written).not.toHaveProperty([`${PREFIX}public-ipv6`]);
});

test("acquireLease() writes under --kube-annotation-prefix", async () => {
  await using bench = await KubeBench.open();
  await bench.take(bench.manager({ options: { annotations: annotationKeys("example.org/blue") } }));
  expect(bench.api.node("a")?.metadata.annotations).toMatchObject({ "example.org/blue-public-ip": "192.0.2.1" });
});

test("acquireLease() takes public-ip-overwrite for the public IP, and a change of it loses the lease, so that it is taken anew", async () => {
  await using bench = await KubeBench.open();
  bench.api.annotate("a", { [`${PREFIX}public-ip-overwrite`]: "203.0.113.1" });
  const manager = bench.manager();
  const lease = await bench.take(manager);
  expect(lease.attributes.publicIP).toEqual(parseAddress("203.0.113.1"));
  expect(bench.api.node("a")?.metadata.annotations).toMatchObject({ [`${PREFIX}public-ip`]: "203.0.113.1" });
  const watch = bench.follow(manager);
  await watch.until((updates) => updates.length > 0);
  bench.api.annotate("a", { [`${PREFIX}public-ip-overwrite`]: "203.0.113.2" });
  const updates = await watch.until((all) => all.length > 1);
  expect(updates.at(-1)).toMatchObject({
    events: [{ type: "added", lease: { attributes: { publicIP: parseAddress("203.0.113.2") } } }],
  });
  bench.api.annotate("a", { [`${PREFIX}public-ip-overwrite`]: "nonsense" });
  expect((await bench.take(manager)).attributes.publicIP).toEqual(parseAddress("192.0.2.1"));
  expect(bench.logger.messages("warn")).toContain("an annotation of our node is no IPv4 address and is ignored");
});

test("annotatedPublicIPs() are what node-public-ip and node-public-ipv6 say, and nothing of what is nonsense", async () => {
  await using bench = await KubeBench.open();
  const manager = bench.manager();
  expect(await manager.annotatedPublicIPs({ signal })).toEqual({});
  bench.api.annotate("a", { [`${PREFIX}node-public-ip`]: "203.0.113.7", [`${PREFIX}node-public-ipv6`]: "2001:db8::7" });
  expect(await manager.annotatedPublicIPs({ signal })).toEqual({
    publicIP: parseAddress("203.0.113.7"),
    publicIPv6: parseAddress("2001:db8::7"),
  });
  bench.api.annotate("a", { [`${PREFIX}node-public-ipv6`]: "203.0.113.8" });
  expect(await manager.annotatedPublicIPs({ signal })).toEqual({ publicIP: parseAddress("203.0.113.7") });
});

test("acquireLease() waits for a node, and then for its podCIDR, without asking again and again", async () => {
  await using bench = await KubeBench.open();
  const taking = bench.take(bench.manager({ node: "late" }));
  await waitUntil(() => bench.calls("watch").length === 1, { signal, within: 20_000, what: "the node is waited for" });
  bench.api.addNode("late", []);
  await delay(200);
  bench.api.change("late", (node) => ({ ...node, spec: { podCIDR: "10.5.9.0/24", podCIDRs: ["10.5.9.0/24"] } }));
  expect(await taking).toMatchObject({ subnet: parsePrefix("10.5.9.0/24") });
  expect(bench.calls("get").length + bench.calls("list").length + bench.calls("watch").length).toBe(3);
  expect(bench.logger.messages("warn")).toEqual(["our node is not registered yet; waiting for it"]);
});

test("acquireLease() says what is wrong with a podCIDR that cannot be used", async () => {
  await using bench = await KubeBench.open();
  const refusal = async (node: string, ...cidrs: string[]) => {
    bench.api.addNode(node, cidrs);
    return String(await failure(bench.take(bench.manager({ node }))));
  };
  expect(await refusal("outside", "10.9.0.0/24")).toMatch(
    /10\.5\.0\.0\/16 in .* does not hold 10\.9\.0\.0\/24, the podCIDR of node outside/,
  );
  expect(await refusal("larger", "10.0.0.0/8")).toContain("does not hold 10.0.0.0/8");
  expect(await refusal("narrow", "10.5.7.0/31")).toContain("leaves no room for pods");
  expect(await refusal("six", "fd00:5::/64")).toContain("no IPv4 podCIDR, only fd00:5::/64");
});

test("acquireLease() looks ever more seldom at a podCIDR that cannot be used, and soon has it once it can", async () => {
  await using bench = await KubeBench.open();
  bench.api.addNode("outside", ["10.9.0.0/24"]);
  const manager = bench.manager({ node: "outside", random: () => 0 });
  for (let attempt = 0; attempt < 2; attempt++) await failure(bench.take(manager));
  const [first, second] = bench.calls("get");
  expect((second?.time ?? 0) - (first?.time ?? 0)).toBeGreaterThan(900);
  expect(await bench.take(manager, VXLAN, '{"Network":"10.9.0.0/16"}')).toMatchObject({
    subnet: parsePrefix("10.9.0.0/24"),
  });
});

test("acquireLease() takes a podCIDR of another length than SubnetLen, and of two families that of the network's, which it says once", async () => {
  await using bench = await KubeBench.open();
  bench.api.addNode("wide", ["fd00:5:1::/64", "10.5.64.0/20"]);
  const manager = bench.manager({ node: "wide" });
  for (let time = 0; time < 2; time++) {
    const lease = await bench.take(manager);
    expect(lease.subnet).toEqual(parsePrefix("10.5.64.0/20"));
    expect(lease).not.toHaveProperty("ipv6Subnet");
  }
  expect(bench.logger.messages("info")).toEqual(["our node has podCIDRs of both families; only one of them is used"]);
});

const DUAL = '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}';
const DUAL_VXLAN = {
  ...VXLAN,
  publicIPv6: parseAddress("2001:db8::1"),
  backendV6Data: { VNI: 1, VtepMAC: "0a:00:00:00:00:06" },
};

test("acquireLease() in a network of both families takes both podCIDRs and writes both halves, as later releases do", async () => {
  await using bench = await KubeBench.open();
  bench.api.addNode("dual", ["10.5.7.0/24", "fd00:5:0:7::/64"]);
  const manager = bench.manager({ node: "dual" });
  const lease = await bench.take(manager, DUAL_VXLAN, DUAL);
  expect(lease).toMatchObject({
    subnet: parsePrefix("10.5.7.0/24"),
    ipv6Subnet: parsePrefix("fd00:5:0:7::/64"),
    attributes: DUAL_VXLAN,
  });
  const written = () => bench.api.node("dual")?.metadata.annotations;
  expect(written()).toMatchObject({
    [`${PREFIX}public-ip`]: "192.0.2.1",
    [`${PREFIX}backend-data`]: '{"VNI":1,"VtepMAC":"0a:00:00:00:00:01"}',
    [`${PREFIX}public-ipv6`]: "2001:db8::1",
    [`${PREFIX}backend-v6-data`]: '{"VNI":1,"VtepMAC":"0a:00:00:00:00:06"}',
  });
  expect(await bench.take(manager, DUAL_VXLAN, DUAL)).toEqual(lease);
  expect(bench.calls("patch")).toHaveLength(1);
  const [update] = await bench.follow(manager).until((updates) => updates.length > 0);
  expect(update).toMatchObject({
    leases: [{ subnet: lease.subnet, ipv6Subnet: lease.ipv6Subnet, attributes: DUAL_VXLAN }],
  });

  bench.api.annotate("dual", { [`${PREFIX}public-ipv6-overwrite`]: "2001:db8::77" });
  expect(await failure(manager.updateLease("", lease, DUAL_VXLAN, { signal }))).toMatchObject({
    message: expect.stringContaining("2001:db8::77 holds it now"),
  });
  expect(await bench.take(manager, DUAL_VXLAN, DUAL)).toMatchObject({
    attributes: { publicIP: VXLAN.publicIP, publicIPv6: parseAddress("2001:db8::77") },
  });
  expect(written()).toMatchObject({ [`${PREFIX}public-ipv6`]: "2001:db8::77" });

  bench.api.change("dual", (node) => ({ ...node, spec: { podCIDR: "10.5.7.0/24", podCIDRs: ["10.5.7.0/24"] } }));
  expect(await failure(manager.updateLease("", lease, DUAL_VXLAN, { signal }))).toMatchObject({
    message: expect.stringContaining("our node has 10.5.7.0/24 now"),
  });
  expect(await failure(bench.take(manager, DUAL_VXLAN, DUAL))).toMatchObject({
    message: "spec.podCIDRs: node dual has no IPv6 podCIDR, only 10.5.7.0/24",
  });
});

test("acquireLease() in a network of IPv6 alone writes that half alone", async () => {
  await using bench = await KubeBench.open();
  bench.api.addNode("six", ["fd00:5:0:8::/64"]);
  bench.api.annotate("six", annotations("192.0.2.9"));
  const config = '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}';
  const attributes = { publicIP: parseAddress("2001:db8::8"), backendType: "vxlan", backendData: { VNI: 1 } };
  const manager = bench.manager({ node: "six" });
  expect(await bench.take(manager, attributes, config)).toMatchObject({
    subnet: parsePrefix("fd00:5:0:8::/64"),
    attributes,
  });
  const written = bench.api.node("six")?.metadata.annotations;
  expect(written).toMatchObject({
    [`${PREFIX}public-ipv6`]: "2001:db8::8",
    [`${PREFIX}backend-v6-data`]: '{"VNI":1}',
  });
  expect(written).not.toHaveProperty([`${PREFIX}public-ip`]);
  expect(written).not.toHaveProperty([`${PREFIX}backend-data`]);
  const [update] = await bench.follow(manager).until((updates) => updates.length > 0);
  expect(update).toMatchObject({ leases: [{ subnet: parsePrefix("fd00:5:0:8::/64"), attributes }] });
});

test("updateLease() loses the lease if another flannel took the node over", async () => {
  await using bench = await KubeBench.open();
  const manager = bench.manager();
  const lease = await bench.take(manager);
  bench.api.annotate("a", { [`${PREFIX}public-ip`]: "192.0.2.99" });
  const error = await failure(manager.updateLease("", lease, VXLAN, { signal }));
  expect(String(error)).toContain("192.0.2.99 holds it now");
});

test("announceReady() sets NetworkUnavailable to false beside the other conditions, once", async () => {
  await using bench = await KubeBench.open();
  const manager = bench.manager();
  await manager.announceReady({ signal });
  expect(bench.api.node("a")?.["status"]).toMatchObject({
    conditions: [
      { type: "Ready", status: "True" },
      {
        type: "NetworkUnavailable",
        status: "False",
        reason: "FlannelIsUp",
        message: "Flannel is running on this node",
      },
    ],
  });
  await manager.announceReady({ signal });
  expect(bench.calls("patch")).toHaveLength(1);
  const silent = bench.manager({ options: { setNetworkUnavailable: false } });
  bench.api.clearCalls();
  await silent.announceReady({ signal });
  expect(bench.api.calls).toEqual([]);
});

test("announceReady() gives up where it has no right to, and goes on where the API server is away", async () => {
  await using bench = await KubeBench.open();
  const manager = bench.manager();
  bench.api.faults.add({ verb: "get", fault: { kind: "status", code: 503 } });
  await manager.announceReady({ signal });
  expect(bench.calls("patch")).toHaveLength(1);
  const stranger = bench.manager({ node: "a", logger: bench.logger });
  bench.api.change("a", (node) => ({ ...node, status: {} }));
  bench.api.faults.add({ verb: "patch", times: 9, fault: { kind: "status", code: 403 } });
  await stranger.announceReady({ signal });
  expect(bench.logger.messages("error")).toEqual(["the node's condition NetworkUnavailable cannot be set"]);
});

test("the node is known by NODE_NAME, or by the pod that we are", async () => {
  await using bench = await KubeBench.open();
  bench.api.create({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "kube-flannel-ds-x", namespace: "kube-flannel" },
    spec: { nodeName: "a" },
  });
  const node = { kind: "pod", namespace: "kube-flannel", name: "kube-flannel-ds-x" } as const;
  expect(await bench.take(bench.manager({ options: { node } }))).toMatchObject({ subnet: parsePrefix("10.5.1.0/24") });
  const nobody = bench.manager({ options: { node: undefined } });
  expect(await failure(bench.take(nobody))).toBeInstanceOf(InvalidConfigError);
});
