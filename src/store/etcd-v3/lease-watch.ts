import { HistoryLostError, StoreUnavailableError } from "../../lease/errors.ts";
import type { Cursor } from "../../lease/lease.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { LeaseEvents } from "../registry.ts";
import { type EtcdV3Client, encode, encodeRange, storeHeader } from "./etcd-v3-client.ts";
import { CompactedError } from "./grpc-failure.ts";
import type { KeyRange } from "./keyspace.ts";
import type { LeaseEntries } from "./lease-entries.ts";
import type { WatchResponse } from "./rpc.ts";

export interface LeaseWatchParts {
  readonly client: EtcdV3Client;
  readonly entries: LeaseEntries;
  /** Of the store, for messages. */
  readonly name: string;
  /** Any key: its reading tells where etcd's history is. */
  readonly anyKey: string;
  /** Where the network's leases are. */
  readonly range: KeyRange;
}

/**
 * Follows the changes of one network's leases. Ends only by an error.
 * @throws {HistoryLostError} if what came after `since` is not known any more, or never will be; {StoreUnavailableError}
 */
export async function* watchLeases(
  parts: LeaseWatchParts,
  since: Cursor,
  { signal }: Abortable,
): AsyncGenerator<LeaseEvents, never> {
  const { client, entries, name, range } = parts;
  const purpose = `watch ${range.first}`;
  await checkHistory(parts, since, { signal });
  const request = { ...encodeRange(range), startRevision: since.index + 1n, progressNotify: true };
  let index = since.index;
  for await (const response of client.watch(request, { signal, purpose })) {
    const header = response.header === undefined ? undefined : storeHeader(response.header);
    if (header !== undefined && header.cluster !== since.history) throw historyChanged(since, header.cluster);
    if (response.canceled) throw watchCanceled(name, since, response);
    const last = response.events.at(-1)?.kv?.modRevision;
    // An answer without events, but for the first, means that there were none up to its revision.
    if (last !== undefined) index = last;
    else if (!response.created && header !== undefined && header.index > index) index = header.index;
    const events = response.events.flatMap(({ type, kv }) => (kv === undefined ? [] : entries.event(type, kv, range)));
    yield { events, cursor: { history: since.history, index } };
  }
  throw new StoreUnavailableError(name, `${purpose}: ended`);
}

/** A watch alone would wait for ever for a revision that a restored store is far from, and tell of a compaction only after it stands. */
async function checkHistory(
  { client, name, anyKey }: LeaseWatchParts,
  since: Cursor,
  { signal }: Abortable,
): Promise<void> {
  const request = { key: encode(anyKey), countOnly: true };
  const purpose = { signal, purpose: "watch" };
  const { header } = await client.range(request, purpose);
  if (header === undefined) throw new StoreUnavailableError(name, "an answer without a header");
  const { cluster, index } = storeHeader(header);
  if (cluster !== since.history) throw historyChanged(since, cluster);
  if (index < since.index)
    throw new HistoryLostError(`etcd is at revision ${index}, before ${since.index}: it was restored or made anew`);
  if (index === since.index) return;
  try {
    await client.range({ ...request, revision: since.index + 1n }, purpose);
  } catch (error) {
    throw error instanceof CompactedError ? compacted(since, error.message) : error;
  }
}

function historyChanged(since: Cursor, cluster: string): HistoryLostError {
  return new HistoryLostError(`etcd is the cluster ${cluster}, not ${since.history} any more`);
}

function compacted(since: Cursor, reason: string): HistoryLostError {
  return new HistoryLostError(`etcd's history does not reach back to ${since.index} any more: ${reason}`);
}

function watchCanceled(store: string, since: Cursor, { compactRevision, cancelReason }: WatchResponse): Error {
  if (compactRevision > 0n) return compacted(since, `compacted to ${compactRevision}`);
  return new StoreUnavailableError(store, `it refused the watch: ${cancelReason || "without a reason"}`);
}
