import { describe, expect, test } from "vitest";
import { chooseEtcdApi, type Holdings } from "./etcd-api-choice.ts";

const nothing: Holdings = { hasConfig: false, hasLeases: false };
const leases: Holdings = { hasConfig: false, hasLeases: true };
const config: Holdings = { hasConfig: true, hasLeases: false };
const all: Holdings = { hasConfig: true, hasLeases: true };

describe("chooseEtcdApi()", () => {
  test.each([
    { title: "is undecided where there is nothing", v2: nothing, v3: nothing, choice: "undecided" },
    { title: "is undecided where there are only leases", v2: leases, v3: leases, choice: "undecided" },
    { title: "takes v2 if only that holds the config", v2: config, v3: nothing, choice: 2 },
    { title: "takes v3 if only that holds the config", v2: nothing, v3: config, choice: 3 },
    { title: "takes the config's API although the other holds leases", v2: config, v3: leases, choice: 2 },
    { title: "takes v2 of two with a config if that holds the leases", v2: all, v3: config, choice: 2 },
    { title: "takes v3 of two with a config if that holds the leases", v2: config, v3: all, choice: 3 },
    { title: "takes v3 if both hold a config and neither a lease", v2: config, v3: config, choice: 3 },
    { title: "sees a conflict if both hold config and leases", v2: all, v3: all, choice: "conflict" },
  ])("$title", ({ v2, v3, choice }) => {
    const result = chooseEtcdApi(v2, v3);
    expect(typeof result === "string" ? result : result.api).toBe(choice);
  });
});
