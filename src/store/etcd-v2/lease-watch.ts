import { HistoryLostError, StoreUnavailableError } from "../../lease/errors.ts";
import type { Cursor, LeaseEvent } from "../../lease/lease.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { Alarm } from "../../lib/alarm.ts";
import type { Clock, Instant, Milliseconds } from "../../lib/clock.ts";
import { Mailbox } from "../../lib/mailbox.ts";
import { Scope } from "../../lib/scope.ts";
import type { EntryReader } from "../entry-reader.ts";
import type { Endpoints, StoreHeader } from "../etcd/endpoints.ts";
import type { LeaseEvents } from "../registry.ts";
import { HttpConnection } from "./http-client.ts";
import { decodeEvent, type KeyEvent, type KeysApi, type KeyWatch } from "./keys-api.ts";
import { arrivalTime, lastSegment, leaseOfNode, type NodeTime } from "./lease-node.ts";

/** A watch that says nothing for this long has its endpoint asked whether it is still there. */
const PROBE_AFTER: Milliseconds = 5_000;
/** etcd keeps 1,000 changes of all keys; the watch is renewed when this many passed it by. */
const RENEW_AFTER = 400n;
/** Beyond this, renewing might lose what staying would not. */
const TOO_LATE_TO_RENEW = 900n;
/** etcd holds so many changes for a stream that is read too slowly, and then forgets the stream: it stays open, and silent for ever. */
const HELD_BY_ETCD = 100;
/** A stream that has told of so many is asked about what it may have missed once it is silent for this long. */
const SILENT_AFTER: Milliseconds = 200;
/** What one event may at most take; etcd's requests are limited to 1.5 MiB. */
const MOST_LINE = 8 * 1024 * 1024;

export interface LeaseWatchParts {
  readonly api: KeysApi;
  readonly endpoints: Endpoints;
  readonly reader: EntryReader;
  readonly clock: Clock;
  /** The network's `…/subnets`. */
  readonly directory: string;
}

/**
 * Follows the changes of one network's leases on one endpoint, on a connection of its own, until something fails.
 *
 * Of changes in etcd's history each poll brings one; from the present on one streaming answer brings all. What etcd finds in its
 * history it writes right behind the answer's head: a watch that has been quiet for a while thus proves that there was nothing
 * up to the index in that head, and so the cursor can keep up with a store in which only other keys change. A stream that told of fewer
 * changes than etcd holds for it has lost none; any other is renewed in the next silence.
 */
export class LeaseWatch {
  readonly #parts: LeaseWatchParts;
  readonly #mail = new Mailbox<Mail>();
  readonly #silence: Alarm;
  #cursor: Cursor;
  #open: OpenWatch | undefined;
  #lastNews: Instant;
  #mustReopen = false;
  #failure: unknown;

  constructor(parts: LeaseWatchParts, since: Cursor) {
    this.#parts = parts;
    this.#cursor = since;
    this.#lastNews = parts.clock.now();
    this.#silence = new Alarm(parts.clock, () => {
      if (this.#open !== undefined) this.#mail.put({ from: this.#open, type: "silence" });
    });
  }

  async *run({ signal }: Abortable): AsyncGenerator<LeaseEvents, never> {
    using connection = new HttpConnection();
    await using scope = new Scope(signal);
    using _silence = this.#silence;
    const endpoint = await this.#begin(connection, signal);
    yield { events: [], cursor: this.#cursor };
    scope.spawn((stop) => this.#probe(endpoint, stop));
    try {
      for (;;) {
        const batch = await this.#next(endpoint, connection, scope.signal);
        if (batch !== undefined) yield batch;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof StoreUnavailableError) this.#parts.endpoints.failed(endpoint, error.message);
      throw error;
    } finally {
      this.#close();
    }
  }

  /** Finds an endpoint that has seen what we have seen, and opens the first watch there. */
  async #begin(connection: HttpConnection, signal: AbortSignal): Promise<string> {
    const { endpoints, api, directory } = this.#parts;
    const since = this.#cursor;
    let header: StoreHeader | undefined;
    endpoints.learned({ cluster: since.history, index: since.index });
    const opened = await endpoints.call(
      async (endpoint, options) => {
        const known = endpoints.history?.index ?? since.index;
        const streaming = since.index >= known; // nothing is known to have happened since
        const watch = await api.watch(endpoint, directory, since.index + 1n, { ...options, connection, streaming });
        try {
          // A member may be a moment behind the others; after a linearizable read it has caught up, or is of an older state.
          const isBehind = watch.header.index < since.index || watch.header.index < known;
          header = isBehind ? (await api.get(endpoint, directory, options)).header : watch.header;
          return { header, value: { endpoint, watch } };
        } catch (error) {
          watch.stream?.[Symbol.dispose]();
          throw error;
        }
      },
      { signal },
    );
    const { cluster = "", index = 0n } = header ?? {};
    if (cluster !== since.history)
      throw lost(opened.watch, `etcd cluster ${cluster} has another history than ${since.history}`);
    if (index < since.index)
      throw lost(opened.watch, `etcd is at change ${index} and so before ${since.index}: an older state was restored`);
    this.#adopt(opened.endpoint, opened.watch);
    return opened.endpoint;
  }

  async #reopen(endpoint: string, connection: HttpConnection, signal: AbortSignal): Promise<void> {
    const { api, directory } = this.#parts;
    const { index } = this.#cursor;
    const streaming = this.#open !== undefined && index >= this.#open.header.index;
    this.#close();
    const watch = await api.watch(endpoint, directory, index + 1n, { signal, connection, streaming });
    if (watch.header.cluster !== this.#cursor.history)
      throw lost(watch, `etcd cluster ${watch.header.cluster} has another history than ${this.#cursor.history}`);
    if (watch.header.index < index) {
      watch.stream?.[Symbol.dispose]();
      throw new StoreUnavailableError(endpoint, `went back from change ${index} to ${watch.header.index}`);
    }
    this.#adopt(endpoint, watch);
  }

  #adopt(endpoint: string, { header, stream, serverTime }: KeyWatch): void {
    const { index } = this.#cursor;
    if (stream === undefined) throw new HistoryLostError(`etcd keeps no changes as old as ${index} any more`);
    const open: OpenWatch = { header, serverTime, stream, since: this.#parts.clock.now(), told: 0 };
    let rest = "";
    const onText = (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      try {
        if (rest.length > MOST_LINE) throw new StoreUnavailableError(endpoint, "told of a change without an end");
        for (const line of lines)
          if (line !== "") this.#mail.put({ from: open, type: "event", event: decodeEvent(endpoint, line) });
      } catch (error) {
        this.#mail.put({ from: open, type: "end", failure: error });
        stream[Symbol.dispose]();
      }
    };
    stream.listen(onText, (failure) => this.#mail.put({ from: open, type: "end", failure }));
    this.#open = open;
    this.#mustReopen = false;
  }

  #close(): void {
    this.#open?.stream[Symbol.dispose]();
  }

  /** What has come since the last call, made to one batch; undefined if it was of no interest. */
  async #next(endpoint: string, connection: HttpConnection, signal: AbortSignal): Promise<LeaseEvents | undefined> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#mustReopen) await this.#reopen(endpoint, connection, signal);
    const before = this.#cursor;
    const events: LeaseEvent[] = [];
    const mails = await this.#mail.takeAll({ signal });
    const time = arrivalTime(this.#parts.clock);
    for (const mail of mails) {
      if (mail.from !== this.#open) continue; // of a watch that has been replaced
      if (mail.type === "event") {
        mail.from.told++;
        events.push(...this.#accept(mail.event, mail.from, time));
        this.#mustReopen ||= BigInt(mail.event.node.modifiedIndex) <= mail.from.header.index;
      } else if (mail.type === "end") {
        this.#mustReopen = true;
        this.#failure = mail.failure ?? (this.#endedAtOnce(mail.from) ? endedAtOnce(endpoint) : undefined);
      } else if (mail.type === "silence") this.#mustReopen ||= this.#mayHaveLost(mail.from, time.now);
      else this.#mustReopen ||= this.#keepUp(mail.index, mail.from);
    }
    if (this.#open !== undefined && this.#open.told >= HELD_BY_ETCD) this.#silence.set(time.now + SILENT_AFTER);
    return events.length > 0 || this.#cursor !== before ? { events, cursor: this.#cursor } : undefined;
  }

  #accept({ action, node }: KeyEvent, from: OpenWatch, time: NodeTime): readonly LeaseEvent[] {
    const { directory, reader } = this.#parts;
    const index = BigInt(node.modifiedIndex);
    this.#lastNews = time.now;
    if (index <= this.#cursor.index) return [];
    this.#cursor = { history: this.#cursor.history, index };
    const isRemoval = action === "delete" || action === "expire" || action === "compareAndDelete";
    if (!node.key.startsWith(`${directory}/`)) {
      // The directory itself or one above it: if that went, all leases went, and only a listing tells what is there now.
      if (isRemoval) throw new HistoryLostError(`${node.key} was removed with everything in it`);
      return [];
    }
    if (isRemoval) {
      const subnets = reader.readKey(lastSegment(node.key));
      return subnets === undefined ? [] : [{ type: "removed", subnet: subnets.subnet }];
    }
    const isOld = index <= from.header.index;
    const lease = leaseOfNode(node, reader, { ...time, ...(isOld && { serverTime: from.serverTime }) });
    return lease === undefined ? [] : [{ type: "added", lease }];
  }

  /** Moves the cursor on with a store in which only other keys change. Whether the watch must be renewed for that. */
  #keepUp(index: bigint, from: OpenWatch): boolean {
    const { clock } = this.#parts;
    const quietSince = Math.max(from.since, this.#lastNews);
    if (clock.now() - quietSince < PROBE_AFTER) return false;
    if (from.header.index > this.#cursor.index) this.#cursor = { ...this.#cursor, index: from.header.index };
    const passed = index - this.#cursor.index;
    return passed >= RENEW_AFTER && passed <= TOO_LATE_TO_RENEW;
  }

  /** Whether the watch must be renewed to find out what etcd did not tell of. */
  #mayHaveLost({ told }: OpenWatch, now: Instant): boolean {
    return told >= HELD_BY_ETCD && now - this.#lastNews >= SILENT_AFTER;
  }

  #endedAtOnce(from: OpenWatch): boolean {
    return this.#lastNews < from.since && this.#parts.clock.now() - from.since < 1_000;
  }

  /** Notices an endpoint that is frozen, cut off, or has lost its cluster: then the watch is as silent as when nothing happens. */
  async #probe(endpoint: string, signal: AbortSignal): Promise<void> {
    const { clock, api, directory } = this.#parts;
    let asked: Instant = clock.now();
    for (let leaderless = 0; ; ) {
      const quiet = clock.now() - Math.max(asked, this.#lastNews);
      if (quiet < PROBE_AFTER) {
        await clock.sleep(PROBE_AFTER - quiet, { signal });
        continue;
      }
      asked = clock.now();
      leaderless = (await api.isLeaderless(endpoint, { signal })) ? leaderless + 1 : 0;
      if (leaderless >= 2) throw new StoreUnavailableError(endpoint, "has no leader and hears of no changes");
      const from = this.#open;
      const { index } = await api.localHeader(endpoint, directory.replace(/subnets$/, "config"), { signal });
      if (from !== undefined) this.#mail.put({ from, type: "probe", index });
    }
  }
}

type OpenWatch = Omit<KeyWatch, "stream"> & {
  readonly stream: NonNullable<KeyWatch["stream"]>;
  readonly since: Instant;
  /** How many changes it has told of. */
  told: number;
};

type Mail = { readonly from: OpenWatch } & (
  | { readonly type: "event"; readonly event: KeyEvent }
  | { readonly type: "end"; readonly failure: unknown }
  | { readonly type: "silence" }
  | { readonly type: "probe"; readonly index: bigint }
);

function lost(watch: KeyWatch, reason: string): HistoryLostError {
  watch.stream?.[Symbol.dispose]();
  return new HistoryLostError(reason);
}

function endedAtOnce(endpoint: string): StoreUnavailableError {
  return new StoreUnavailableError(endpoint, "ended a watch at once and without a word");
}
