import type { Abortable } from "../lib/abortable.ts";
import type { NetworkName } from "./lease.ts";

export interface NetworkEvent {
  readonly type: "added" | "removed";
  readonly network: NetworkName;
}

/** A snapshot tells which networks there are, and nothing of those that it does not name: only an event says that one was removed. */
export type NetworkUpdate =
  | { readonly type: "snapshot"; readonly networks: readonly NetworkName[] }
  | { readonly type: "events"; readonly events: readonly NetworkEvent[] };

/** An ability of stores that may hold several networks. */
export interface NetworkDirectory {
  /** The networks that have a config and a name. Never ends by itself; transient store errors are retried inside and logged once per outage. */
  watchNetworks(options: Abortable): AsyncIterable<NetworkUpdate>;
}
