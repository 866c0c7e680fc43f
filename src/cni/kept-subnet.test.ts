import { describe, expect, test } from "vitest";
import { describeKeptSubnet } from "./kept-subnet.ts";
import { parseSubnetFile } from "./subnet-file.ts";

const FILE = parseSubnetFile(
  "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.35.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n",
  "subnet.env",
);
const BRIDGE = { name: "cbr0", type: "bridge", isGateway: true };

/** As a kernel showed it: a bridge with 10.5.34.1/24 and no pod, eth0 with a default route, the Network by flannel.1. */
const ROUTES = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	FE4DA8C0	0003	0	0	0	00000000	0	0	0
flannel.1	0000050A	00000000	0001	0	0	0	0000FFFF	0	0	0
cni0	0022050A	00000000	0001	0	0	0	00FFFFFF	0	0	0
eth0	004DA8C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
`;

describe("describeKeptSubnet()", () => {
  test("describeKeptSubnet() names bridge, its subnet, this host's, and what helps", () => {
    expect(describeKeptSubnet(BRIDGE, FILE, ROUTES)).toBe(
      'bridge cni0 still has the subnet 10.5.34.0/24, but this host\'s is 10.5.35.0/24: its lease has changed. Take the bridge away ("ip link delete cni0") and make its pods anew; the next pod brings it back',
    );
  });

  test("describeKeptSubnet() has nothing to say of the right subnet, or of a bridge that is not there", () => {
    expect(describeKeptSubnet(BRIDGE, FILE, ROUTES.replace("0022050A", "0023050A"))).toBeUndefined();
    expect(describeKeptSubnet({ ...BRIDGE, bridge: "cni1" }, FILE, ROUTES)).toBeUndefined();
    expect(describeKeptSubnet(BRIDGE, FILE, "")).toBeUndefined();
  });

  test("describeKeptSubnet() leaves alone what the bridge plugin accepts, and other plugins", () => {
    expect(describeKeptSubnet({ ...BRIDGE, forceAddress: true }, FILE, ROUTES)).toBeUndefined();
    expect(describeKeptSubnet({ ...BRIDGE, isGateway: false }, FILE, ROUTES)).toBeUndefined();
    expect(describeKeptSubnet({ ...BRIDGE, type: "ptp" }, FILE, ROUTES)).toBeUndefined();
  });
});
