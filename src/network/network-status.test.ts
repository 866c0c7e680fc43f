import { describe, expect, test } from "vitest";
import { parsePrefix } from "../ip/prefix.ts";
import { describeNetwork, describeNetworks, type NetworkStatus, STARTING } from "./network-status.ts";

function up(number: number, peers: number, problems: readonly string[] = []): NetworkStatus {
  return { phase: "up", subnets: [parsePrefix(`10.5.${number}.0/24`)], backend: "vxlan", peers, problems };
}

describe("describeNetwork()", () => {
  test.each([
    [STARTING, "Waiting for the network's config."],
    [
      { phase: "waiting", what: "a usable network config", reason: "Backend.VNI: must be a whole number." },
      "Waiting for a usable network config: Backend.VNI: must be a whole number.",
    ],
    [up(3, 1), "Up: subnet 10.5.3.0/24, backend vxlan, 1 peer."],
    [
      up(3, 2, ["route 10.5.4.0/24: ENETUNREACH"]),
      "Up: subnet 10.5.3.0/24, backend vxlan, 2 peers; not in place: route 10.5.4.0/24: ENETUNREACH.",
    ],
    [
      up(3, 2, ["route a: EPERM", "route b: EPERM"]),
      "Up: subnet 10.5.3.0/24, backend vxlan, 2 peers; 2 rows are not in place, the first: route a: EPERM.",
    ],
  ] satisfies readonly (readonly [NetworkStatus, string])[])("is a sentence: %#", (status, sentence) => {
    expect(describeNetwork(status)).toBe(sentence);
  });
});

describe("describeNetworks()", () => {
  test("names those that are up, and of the others what they wait for", () => {
    const networks = new Map([
      ["blue", up(3, 2)],
      ["red", { phase: "waiting", what: "a usable network config", reason: "it is not JSON" } as const],
      ["green", up(4, 1)],
    ]);
    expect(describeNetworks(networks)).toBe(
      "2 of 3 networks are up: blue (10.5.3.0/24, 2 peers), green (10.5.4.0/24, 1 peer); red is waiting for a usable network config: it is not JSON.",
    );
  });

  test("says so where none is up, or none there", () => {
    expect(describeNetworks(new Map([["blue", STARTING]]))).toBe(
      "0 of 1 network is up; blue is waiting for the network's config.",
    );
    expect(describeNetworks(new Map())).toBe("No networks yet.");
  });
});
