import { expect, test } from "vitest";
import { parseAddress } from "../../ip/address.ts";
import { parsePrefix } from "../../ip/prefix.ts";
import { annotationKeys } from "./annotation-keys.ts";
import { NodeReader } from "./node.ts";
import { annotationChanges, leaseOf } from "./node-lease.ts";

const KEYS = annotationKeys("flannel.alpha.coreos.com");
const reader = new NodeReader("https://api", KEYS);

function node(annotations: Readonly<Record<string, string>>, spec: object = { podCIDR: "10.244.1.0/24" }) {
  const whole = Object.entries(annotations).map(([name, value]) => [`flannel.alpha.coreos.com/${name}`, value]);
  return reader.read({
    metadata: { name: "a", resourceVersion: "12", annotations: { other: "x", ...Object.fromEntries(whole) } },
    spec,
  });
}

test("leaseOf() reads what 0.7.0 writes", () => {
  const annotations = {
    "kube-subnet-manager": "true",
    "backend-type": "vxlan",
    "backend-data": '{"VtepMAC":"c6:df:8a:93:40:f8"}',
    "public-ip": "192.0.2.1",
  };
  expect(leaseOf(node(annotations))).toEqual({
    subnet: parsePrefix("10.244.1.0/24"),
    attributes: {
      publicIP: parseAddress("192.0.2.1"),
      backendType: "vxlan",
      backendData: { VtepMAC: "c6:df:8a:93:40:f8" },
    },
    isReservation: false,
    revision: 12n,
  });
});

test("leaseOf() takes null for no data, and an empty type for none: udp and host-gw", () => {
  const annotations = {
    "kube-subnet-manager": "true",
    "backend-type": "",
    "backend-data": "null",
    "public-ip": "192.0.2.1",
  };
  expect(leaseOf(node(annotations))?.attributes).toEqual({ publicIP: parseAddress("192.0.2.1") });
});

test("leaseOf() takes podCIDRs rather than podCIDR, whatever their order", () => {
  const spec = { podCIDR: "fd00::/64", podCIDRs: ["fd00::/64", "10.244.2.0/24"] };
  expect(leaseOf(node({ "kube-subnet-manager": "true", "public-ip": "192.0.2.1" }, spec))).toMatchObject({
    subnet: parsePrefix("10.244.2.0/24"),
    ipv6Subnet: parsePrefix("fd00::/64"),
  });
});

test("leaseOf() takes an administrator's public IP for our own node only", () => {
  const facts = node({ "kube-subnet-manager": "true", "public-ip": "192.0.2.1", "public-ip-overwrite": "203.0.113.1" });
  expect(leaseOf(facts)?.attributes.publicIP).toEqual(parseAddress("192.0.2.1"));
  expect(leaseOf(facts, true)?.attributes.publicIP).toEqual(parseAddress("203.0.113.1"));
});

test("leaseOf() reads both halves of a node of both families, and an administrator's public IPs for our own node only", () => {
  const spec = { podCIDRs: ["10.244.1.0/24", "fd00:1::/64"] };
  const facts = node(
    {
      "kube-subnet-manager": "true",
      "backend-type": "vxlan",
      "backend-data": '{"VNI":1}',
      "backend-v6-data": '{"VNI":6}',
      "public-ip": "192.0.2.1",
      "public-ipv6": "2001:db8::1",
      "public-ipv6-overwrite": "2001:db8::99",
    },
    spec,
  );
  expect(leaseOf(facts)).toEqual({
    subnet: parsePrefix("10.244.1.0/24"),
    ipv6Subnet: parsePrefix("fd00:1::/64"),
    attributes: {
      publicIP: parseAddress("192.0.2.1"),
      publicIPv6: parseAddress("2001:db8::1"),
      backendType: "vxlan",
      backendData: { VNI: 1 },
      backendV6Data: { VNI: 6 },
    },
    isReservation: false,
    revision: 12n,
  });
  expect(leaseOf(facts, true)?.attributes.publicIPv6).toEqual(parseAddress("2001:db8::99"));
});

test.each([
  ["without a public-ip", { "public-ipv6": "2001:db8::1" }],
  ["with zeros for one", { "public-ip": "0.0.0.0", "public-ipv6": "2001:db8::1" }],
])("leaseOf() takes the IPv6 half of a node %s for all of it", (_, annotations) => {
  const all = { "kube-subnet-manager": "true", "backend-data": "null", "backend-v6-data": '{"VNI":6}', ...annotations };
  expect(leaseOf(node(all, { podCIDRs: ["10.244.1.0/24", "fd00:1::/64"] }))).toEqual({
    subnet: parsePrefix("fd00:1::/64"),
    attributes: { publicIP: parseAddress("2001:db8::1"), backendData: { VNI: 6 } },
    isReservation: false,
    revision: 12n,
  });
  expect(leaseOf(node(all))).toBeUndefined(); // no subnet of that family
});

test.each([
  [{ "public-ip": "nonsense" }, 'annotation public-ip: must be an IPv4 address, not "nonsense"'],
  [{}, "annotation public-ip: is missing"],
  [{ "public-ip": "192.0.2.1", "backend-data": "}" }, 'annotation backend-data: must be JSON, not "}"'],
  [{ "public-ip": "192.0.2.1", "public-ipv6": "192.0.2.2" }, "annotation public-ipv6: must be an IPv6 address"],
])("leaseOf() names the annotation that makes no sense in %j", (annotations, reason) => {
  expect(() => leaseOf(node({ "kube-subnet-manager": "true", ...annotations }))).toThrow(reason);
});

test("annotationChanges() is undefined for a node that says all of it, in whatever flannel's words", () => {
  const facts = node({
    "kube-subnet-manager": "true",
    "backend-type": "vxlan",
    "backend-data": '{"VNI":1,"VtepMAC":"0a:00:00:00:00:01"}',
    "public-ip": "192.0.2.1",
  });
  const attributes = {
    publicIP: parseAddress("192.0.2.1"),
    backendType: "vxlan",
    backendData: { VNI: 1, VtepMAC: "0a:00:00:00:00:01" },
  };
  expect(annotationChanges(facts, attributes, KEYS)).toBeUndefined();
  expect(annotationChanges(facts, { ...attributes, backendType: "host-gw" }, KEYS)).toEqual({
    "flannel.alpha.coreos.com/backend-type": "host-gw",
  });
});

test("NodeReader refuses what is no node", () => {
  expect(() => reader.read({ kind: "Status" })).toThrow("https://api: it answered with a node without a name");
  expect(() => reader.read({ metadata: { name: "a", resourceVersion: "x" } })).toThrow(
    'it answered with a resourceVersion that is no number, "x"',
  );
});
