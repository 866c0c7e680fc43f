import { type Cursor, continuesHistory, type NetworkName } from "../lease/lease.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Clock, Milliseconds } from "../lib/clock.ts";
import { formatEvents, formatNetworkEvent, formatSnapshot } from "./api-json.ts";
import { type CursorNumber, epochOf } from "./cursor-text.ts";
import type { NetworkBook, NetworkListing } from "./served-store.ts";
import { Shared } from "./shared.ts";

/** How often the store is asked while somebody waits. Networks seldom come and go. */
const LOOK_EVERY: Milliseconds = 1_000;
/** How many changes a client may have missed. */
const HISTORY = 1_000;

/** Which networks there are, and how that changes, for however many clients. */
export class NetworkHub {
  readonly #book: NetworkBook;
  readonly #clock: Clock;
  readonly #listing: Shared<NetworkListing>;
  #known: NetworkListing | undefined;
  #start = 0n;
  #changes: { readonly index: bigint; readonly text: string }[] = [];

  constructor(book: NetworkBook, clock: Clock, { signal }: Abortable) {
    this.#book = book;
    this.#clock = clock;
    this.#listing = new Shared(() => this.#list(signal));
  }

  async snapshot(): Promise<string> {
    const { networks, cursor } = await this.#listing.get();
    return formatSnapshot(
      networks.map((name) => JSON.stringify(name)),
      cursor,
    );
  }

  /** What has changed since, as soon as something has, or nothing if patience ends before; or all if that is not known. */
  async poll(
    { epoch, index }: CursorNumber,
    { signal, patience = Number.POSITIVE_INFINITY }: Abortable & { readonly patience?: Milliseconds },
  ): Promise<string> {
    for (const end = this.#clock.now() + patience; ; ) {
      const { cursor } = await this.#listing.get();
      const isOurs = epoch === 0n || epoch === epochOf(cursor.history);
      if (!isOurs || index > cursor.index || index < this.#start) return await this.snapshot();
      const change = this.#changes.find((each) => each.index > index);
      if (change !== undefined) return formatEvents([change.text], { history: cursor.history, index: change.index });
      if (this.#clock.now() >= end) return formatEvents([], cursor);
      await this.#clock.sleep(LOOK_EVERY, { signal });
    }
  }

  async #list(signal: AbortSignal): Promise<NetworkListing> {
    const listing = await this.#book.listNetworks({ signal });
    const before = this.#known;
    this.#known = listing;
    if (before === undefined || !continuesHistory(before.cursor, listing.cursor)) this.#begin(listing.cursor);
    else this.#compare(before, listing);
    return listing;
  }

  #begin({ index }: Cursor): void {
    this.#start = index;
    this.#changes = [];
  }

  #compare(before: NetworkListing, { networks, cursor }: NetworkListing): void {
    const gone = before.networks.filter((name) => !networks.includes(name)).map(change("removed"));
    const come = networks.filter((name) => !before.networks.includes(name)).map(change("added"));
    const text = [...gone, ...come].map(formatNetworkEvent).join(",");
    if (text !== "") this.#changes.push({ index: cursor.index, text });
    const excess = this.#changes.length - HISTORY;
    if (excess > 0) this.#start = this.#changes.splice(0, excess).at(-1)?.index ?? this.#start;
  }
}

function change(type: "added" | "removed") {
  return (network: NetworkName) => ({ type, network });
}
