import { HistoryLostError, StoreUnavailableError } from "../../lease/errors.ts";
import type { Revision } from "../../lease/lease.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { Mailbox } from "../../lib/mailbox.ts";
import type { ApiClient } from "./api-client.ts";
import { ApiStatusError } from "./api-error.ts";
import { MOST_ITEM_BYTES } from "./json-items.ts";
import { fields, type NodeFacts, type NodeReader } from "./node.ts";
import { NODES } from "./node-listing.ts";

export type NodeEvent =
  | {
      /** `put`: there is such a node now; it may have been otherwise before; `added`: there was none. */
      readonly type: "added" | "put" | "gone";
      readonly node: NodeFacts;
      readonly version: Revision;
    }
  /** Nothing has changed, but time goes on: older versions may be forgotten. */
  | { readonly type: "bookmark"; readonly version: Revision };

export interface WatchOptions extends Abortable {
  readonly since: Revision;
  /** Only this node. */
  readonly name?: string | undefined;
  readonly random: () => number;
}

/** Seconds until the server ends a watch, so that hosts spread over several servers; drawn between these, as the API's own clients do. */
const LIFETIME = { least: 300, most: 600 };
/** How much longer than that we wait for the end. */
const GRACE = 30;

/**
 * Changes of nodes after a version, in batches as they come; the first batch, empty, says that the watch stands. Returns when the
 * server ends it, as it does after some minutes. "Efficient detection of changes" in the Kubernetes documentation.
 * @throws {HistoryLostError} if some of them are forgotten, {StoreUnavailableError}, {StoreRefusedError}
 */
export async function* watchNodes(
  client: ApiClient,
  reader: NodeReader,
  { since, name, random, signal }: WatchOptions,
): AsyncIterable<readonly NodeEvent[]> {
  const seconds = Math.round(LIFETIME.least + random() * (LIFETIME.most - LIFETIME.least));
  const query = new URLSearchParams({
    watch: "true",
    resourceVersion: String(since),
    allowWatchBookmarks: "true",
    timeoutSeconds: String(seconds),
    ...(name !== undefined && { fieldSelector: `metadata.name=${name}` }),
  });
  const inbox = new Mailbox<readonly NodeEvent[] | { readonly end: unknown }>();
  const over = new AbortController();
  const lines = new Lines((line) => inbox.put([parseEvent(client.server, reader, line)]));
  const watching = client
    .stream(`${NODES}?${query.toString()}`, {
      signal: AbortSignal.any([signal, over.signal]),
      whole: (seconds + GRACE) * 1000,
      onOpen: () => inbox.put([]),
      onChunk: (chunk) => lines.feed(chunk),
    })
    .then(
      () => inbox.put({ end: undefined }),
      (error: unknown) => inbox.put({ end: historyLost(error) ?? error }),
    );
  try {
    for (;;) {
      const batches: (readonly NodeEvent[])[] = [];
      let end: { readonly end: unknown } | undefined;
      for (const arrival of await inbox.takeAll({ signal }))
        if ("end" in arrival) end = arrival;
        else batches.push(arrival);
      if (batches.length > 0) yield batches.flat(); // what came before the end counts
      if (end === undefined) continue;
      if (end.end === undefined) return;
      throw end.end;
    }
  } finally {
    over.abort();
    await watching;
  }
}

function historyLost(error: unknown): HistoryLostError | undefined {
  return error instanceof ApiStatusError && error.status === 410 ? new HistoryLostError(error.message) : undefined;
}

/** @throws {HistoryLostError} for the error of that name */
function parseEvent(server: string, reader: NodeReader, line: string): NodeEvent {
  let event: unknown;
  try {
    event = JSON.parse(line);
  } catch {
    throw new StoreUnavailableError(server, `it told a change that is no JSON: ${line.slice(0, 100)}`);
  }
  const { type, object } = fields(event);
  if (type === "ERROR") {
    const { code, message } = fields(object);
    if (code === 410) throw new HistoryLostError(String(message));
    throw new StoreUnavailableError(server, `the watch was ended: ${JSON.stringify(message ?? code)}`);
  }
  if (type === "BOOKMARK")
    return { type: "bookmark", version: reader.version(fields(fields(object)["metadata"])["resourceVersion"]) };
  if (type !== "ADDED" && type !== "MODIFIED" && type !== "DELETED")
    throw new StoreUnavailableError(server, `it told a change of unknown type: ${JSON.stringify(type)?.slice(0, 100)}`);
  const node = reader.read(object);
  const types = { ADDED: "added", MODIFIED: "put", DELETED: "gone" } as const;
  return { type: types[type], node, version: node.version };
}

/** Cuts a stream into lines. Half a line at the end is none. */
class Lines {
  readonly #onLine: (line: string) => void;
  #parts: Buffer[] = [];
  #size = 0;

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  /** @throws {Error} if a line is longer than any can be */
  feed(chunk: Buffer): void {
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      const line = Buffer.concat([...this.#parts, chunk.subarray(from, end)]).toString("utf8");
      this.#parts = [];
      this.#size = 0;
      from = end + 1;
      if (line.trim() !== "") this.#onLine(line);
    }
    const rest = chunk.subarray(from);
    this.#size += rest.length;
    if (this.#size > MOST_ITEM_BYTES) throw new Error(`a change is longer than ${MOST_ITEM_BYTES} bytes`);
    if (rest.length > 0) this.#parts.push(Buffer.from(rest));
  }
}
