import { describe, expect, test } from "vitest";
import { parseNetworkConfig } from "../lease/network-config.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import { NetworkClaims } from "./network-claims.ts";

const config = (network: string, backend: object) =>
  parseNetworkConfig(JSON.stringify({ Network: network, Backend: backend }));

describe("NetworkClaims", () => {
  test.each([
    ["10.6.0.0/16", { Type: "vxlan" }, 'Backend.VNI: VNI 1 is that of network "blue" on this host already'],
    ["10.6.0.0/16", { type: "VXLAN", vni: 1, Port: 7 }, 'Backend.VNI: VNI 1 is that of network "blue"'],
    ["10.5.128.0/17", { Type: "alloc" }, 'Network: 10.5.128.0/17 overlaps 10.5.0.0/16 of network "blue" on this host'],
    ["10.8.0.0/16", { Type: "udp" }, 'Backend.Port: UDP port 8285 is that of network "red" on this host already'],
  ])("claim() of %s with %j names the network that has it", (network, backend, message) => {
    const claims = new NetworkClaims();
    claims.claim("blue", config("10.5.0.0/16", { Type: "vxlan" }));
    claims.claim("red", config("10.7.0.0/16", { Type: "udp" }));
    expect(() => claims.claim("green", config(network, backend))).toThrow(message);
    expect(() => claims.claim("green", config(network, backend))).toThrow(InvalidConfigError);
  });

  test("claim() takes what differs, and may change its mind", () => {
    const claims = new NetworkClaims();
    claims.claim("blue", config("10.5.0.0/16", { Type: "vxlan" }));
    claims.claim("green", config("10.6.0.0/16", { Type: "vxlan", VNI: 2 }));
    claims.claim("green", config("10.6.0.0/16", { Type: "host-gw" }));
    claims.claim("red", config("10.7.0.0/16", { Type: "vxlan", VNI: 2 }));
    claims.release("blue");
    claims.claim("green", config("10.5.0.0/16", { Type: "vxlan" }));
  });
});
