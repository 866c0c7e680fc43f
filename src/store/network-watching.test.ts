import { expect, test } from "vitest";
import type { NetworkUpdate } from "../lease/network-directory.ts";
import { FakeClock } from "../lib/fake-clock.ts";
import { RecordingLogger } from "../lib/recording-logger.ts";
import { MemoryRegistry } from "./memory/memory-registry.ts";
import { MemoryStore } from "./memory/memory-store.ts";
import { followNetworks } from "./network-watching.ts";

test("followNetworks() tells what comes and goes, and takes a store that was made anew for no removal", async () => {
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const store = new MemoryStore({ clock });
  const registry = new MemoryRegistry(store, { logger });
  const stop = new AbortController();
  const updates: NetworkUpdate[] = [];
  const following = (async () => {
    const parts = { registry, clock, logger, random: () => 0 };
    for await (const update of followNetworks(parts, { signal: stop.signal })) updates.push(update);
  })();
  const after = async (change: () => void) => {
    change();
    updates.length = 0;
    await clock.advance(10_000);
    return [...updates];
  };
  store.setConfig("", "{}");
  store.setConfig("blue", "{}");
  await clock.advance(0);
  expect(updates).toEqual([{ type: "snapshot", networks: ["blue"] }]);
  expect(await after(() => store.setConfig("green", "{}"))).toEqual([
    { type: "events", events: [{ type: "added", network: "green" }] },
  ]);
  expect(await after(() => store.removeConfig("blue"))).toEqual([
    { type: "events", events: [{ type: "removed", network: "blue" }] },
  ]);
  expect(await after(() => (registry.connection = "down"))).toEqual([]);
  expect(await after(() => (registry.connection = "up"))).toEqual([]);
  expect(logger.messages("warn")).toHaveLength(1);
  expect(await after(() => store.wipe())).toEqual([{ type: "snapshot", networks: [] }]);
  stop.abort(new Error("enough"));
  await expect(following).rejects.toThrow("enough");
});
