import { describeTable } from "../dataplane/table-conformance.ts";
import { parsePrefix } from "../ip/prefix.ts";
import { RecordingLogger } from "../lib/recording-logger.ts";
import type { CloudRoute } from "./cloud.ts";
import { FakeRouteApi } from "./fake-cloud.ts";
import { HeldSubnets } from "./held-subnets.ts";
import { pace } from "./pace.ts";
import { CloudRouteTable } from "./route-table.ts";

function route(destination: string, target = "eni-1", leadsTo: CloudRoute["leadsTo"] = "self"): CloudRoute {
  return { table: undefined, destination: parsePrefix(destination), target, leadsTo };
}

describeTable("CloudRouteTable", async () => {
  const api = new FakeRouteApi();
  const scope = { network: parsePrefix("10.5.0.0/16"), subnet: parsePrefix("10.5.1.0/24"), isSubnet: () => true };
  const isHeld = () => false;
  const foreign = route("10.5.9.0/24", "eni-9", "instance");
  return {
    table: new CloudRouteTable({ api, scopes: [scope], isHeld, pace: pace(600_000), logger: new RecordingLogger() }),
    rows: [route("10.5.1.0/24"), route("10.5.2.0/24"), route("10.5.3.0/24")],
    foreign: {
      put: async () => api.putByHand(foreign),
      isThere: async () => api.routes.includes(foreign),
    },
    removeByHand: async ({ destination }) => api.removeByHand(destination),
    notified: async () => {},
    async [Symbol.asyncDispose]() {},
  };
});

describeTable("HeldSubnets", async () => {
  const table = new HeldSubnets();
  const row = (subnet: string) => ({ subnet: parsePrefix(subnet) });
  return {
    table,
    rows: [row("10.5.1.0/24"), row("10.5.2.0/24"), row("10.5.3.0/24")],
    removeByHand: async (gone) => void (await table.apply({ puts: [], removals: [gone] }, new AbortController())),
    notified: async () => {},
    async [Symbol.asyncDispose]() {},
  };
});
