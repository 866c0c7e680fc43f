import { describe, expect, test } from "vitest";
import { renderDelegateConfig, withGateways, withPreviousResult, withValidAttachments } from "./delegate-config.ts";
import type { JsonObject } from "./json-object.ts";
import { parseNetworkConfig } from "./network-config.ts";
import { parseSubnetFile } from "./subnet-file.ts";

const SUBNET_ENV =
  "FLANNEL_NETWORK=10.5.0.0/16,10.6.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET=fd00:5:0:22::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n";
const FILE = parseSubnetFile(SUBNET_ENV, "subnet.env");

function configWith(fields: JsonObject) {
  return parseNetworkConfig({ cniVersion: "1.0.0", name: "cbr0", type: "flannel", ...fields });
}

describe("renderDelegateConfig()", () => {
  test("renderDelegateConfig() makes of flannel's own config the one of Kubernetes' manifest: bridge and host-local", () => {
    const config = configWith({
      delegate: { hairpinMode: true, isDefaultGateway: true },
      runtimeConfig: { portMappings: [] },
    });
    expect(renderDelegateConfig(config, FILE)).toEqual({
      cniVersion: "1.0.0",
      name: "cbr0",
      type: "bridge",
      mtu: 1450,
      ipMasq: true,
      isGateway: true,
      hairpinMode: true,
      isDefaultGateway: true,
      runtimeConfig: { portMappings: [] },
      ipam: {
        type: "host-local",
        ranges: [[{ subnet: "10.5.34.0/24" }], [{ subnet: "fd00:5:0:22::/64" }]],
        routes: [{ dst: "10.5.0.0/16" }, { dst: "10.6.0.0/16" }, { dst: "fd00:5::/48" }],
      },
    });
  });

  test("renderDelegateConfig() lets what is written win over what flanneld found out", () => {
    const config = configWith({ delegate: { mtu: 1300, ipMasq: false, isGateway: false } });
    expect(renderDelegateConfig(config, FILE)).toMatchObject({ mtu: 1300, ipMasq: false, isGateway: false });
  });

  test("renderDelegateConfig() makes a gateway only of a bridge", () => {
    expect(renderDelegateConfig(configWith({ delegate: { type: "ipvlan" } }), FILE)).not.toHaveProperty("isGateway");
  });

  test("renderDelegateConfig() keeps fields of ipam, puts its routes first and does not let it choose the ranges", () => {
    const ipam = {
      type: "static",
      dataDir: "/data",
      ranges: [[{ subnet: "192.168.0.0/24" }]],
      routes: [{ dst: "0.0.0.0/0" }],
    };
    expect(renderDelegateConfig(configWith({ ipam }), FILE)["ipam"]).toEqual({
      type: "static",
      dataDir: "/data",
      ranges: [[{ subnet: "10.5.34.0/24" }], [{ subnet: "fd00:5:0:22::/64" }]],
      routes: [{ dst: "0.0.0.0/0" }, { dst: "10.5.0.0/16" }, { dst: "10.6.0.0/16" }, { dst: "fd00:5::/48" }],
    });
  });

  test("renderDelegateConfig() names routes that are none", () => {
    expect(() => renderDelegateConfig(configWith({ ipam: { routes: ["0.0.0.0/0"] } }), FILE)).toThrow(
      'ipam.routes is ["0.0.0.0/0"]: a list of objects with `dst` is expected',
    );
  });
});

describe("withPreviousResult()", () => {
  const delegate = { name: "cbr0", type: "bridge", cniVersion: "0.3.1" };

  test("withPreviousResult() speaks as the runtime does now", () => {
    const prevResult = { cniVersion: "1.0.0", ips: [] };
    expect(withPreviousResult(delegate, configWith({ prevResult }))).toEqual({
      ...delegate,
      cniVersion: "1.0.0",
      prevResult,
    });
  });

  test("withPreviousResult() leaves the config of the ADD alone where there is no result, or no field for one", () => {
    expect(withPreviousResult(delegate, configWith({}))).toBe(delegate);
    expect(withPreviousResult(delegate, configWith({ cniVersion: "0.2.0", prevResult: {} }))).toBe(delegate);
  });
});

test("withGateways() gives every route that has none the gateway of its family, and leaves what it does not know", () => {
  const ips = [
    { address: "10.5.34.2/24", gateway: "10.5.34.1" },
    { address: "fd00::2/64", gateway: "fd00::1" },
  ];
  const routes = [{ dst: "10.5.0.0/16" }, { dst: "fd00:5::/48" }, { dst: "0.0.0.0/0", gw: "10.5.34.9" }, "?"];
  expect(withGateways({ ips, routes, dns: {} })).toEqual({
    ips,
    routes: [{ dst: "10.5.0.0/16", gw: "10.5.34.1" }, { dst: "fd00:5::/48", gw: "fd00::1" }, routes[2], "?"],
    dns: {},
  });
  expect(withGateways({ ips: [{}], routes })).toEqual({ ips: [{}], routes });
  expect(withGateways({ ips: 5 })).toEqual({ ips: 5 });
});

test("withValidAttachments() passes the runtime's list on", () => {
  const attachments = [{ containerID: "c1", ifname: "eth0" }];
  const config = configWith({ cniVersion: "1.1.0", "cni.dev/attachments": attachments });
  expect(withValidAttachments({ name: "cbr0", type: "bridge" }, config)).toEqual({
    name: "cbr0",
    type: "bridge",
    cniVersion: "1.1.0",
    "cni.dev/valid-attachments": attachments,
  });
});
