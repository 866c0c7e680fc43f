// A program of its own, so that it can run in a network namespace: follows the leases of an etcd and tells on standard output.
import { systemClock } from "../../src/lib/clock.ts";
import { describeError } from "../../src/lib/errors.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { parseEtcdOptions } from "../../src/store/etcd/options.ts";
import { EtcdV2Registry } from "../../src/store/etcd-v2/etcd-v2-registry.ts";

const [endpoints = "", prefix = ""] = process.argv.slice(2);
const { signal } = new AbortController();
await using registry = new EtcdV2Registry(parseEtcdOptions({ endpoints, prefix }), {
  clock: systemClock,
  logger: silentLogger,
});
const { cursor } = await registry.listLeases("", { signal });
try {
  for await (const { events } of registry.watchLeases("", cursor, { signal }))
    process.stdout.write(`events ${events.length}\n`);
} catch (error) {
  process.stdout.write(`failed ${error instanceof Error ? error.name : ""} ${describeError(error)}\n`);
}
