import { expect } from "vitest";
import type { CloudHost, CloudRequest, CloudRoute } from "../../src/cloud/cloud.ts";
import { memoryNotes } from "../../src/cloud/fake-cloud.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { silentLogger } from "../../src/lib/logger.ts";

/** All of a request but for the host's address. */
export const REQUEST: Omit<CloudRequest, "address"> = {
  checkEvery: 600_000,
  notes: memoryNotes(),
  logger: silentLogger,
};

/** Puts an IPv6 route, finds it and removes it. @param routes what the cloud has @param line how it shows the route */
export async function describeIPv6Routes(
  cloud: CloudHost,
  routes: () => readonly string[],
  line: string,
): Promise<void> {
  const options = { signal: AbortSignal.timeout(20_000) };
  const subnet = parsePrefix("fd00:5:0:3::/64");
  const tables = cloud.tables({ network: parsePrefix("fd00:5::/48"), subnet, isSubnet: () => true });
  const own: CloudRoute = { table: undefined, destination: subnet, target: cloud.target, leadsTo: "self" };
  expect(await tables.routes.list(options)).toEqual([]);
  expect(await tables.routes.apply({ puts: [own], removals: [] }, options)).toEqual([]);
  expect(routes()).toEqual([line]);
  expect(await tables.routes.list(options)).toEqual([own]);
  expect(await tables.routes.apply({ puts: [], removals: [own] }, options)).toEqual([]);
  expect(routes()).toEqual([]);
}
