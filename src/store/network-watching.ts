import { continuesHistory } from "../lease/lease.ts";
import type { NetworkEvent, NetworkUpdate } from "../lease/network-directory.ts";
import { Outage } from "../lease/outage.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Milliseconds } from "../lib/clock.ts";
import type { LeaseWatchingParts } from "./lease-watching.ts";
import type { NetworkListing } from "./registry.ts";

/** Networks seldom come and go. */
const LOOK_EVERY: Milliseconds = 2_000;

/**
 * As NetworkDirectory.watchNetworks(). A network was removed if it was there at an earlier place of the very same history and is not any
 * more; in a store that was made anew, restored or addressed otherwise it is only not there.
 */
export async function* followNetworks(parts: LeaseWatchingParts, { signal }: Abortable): AsyncIterable<NetworkUpdate> {
  const { registry, clock } = parts;
  using outage = new Outage({ ...parts, store: () => registry.name });
  let known: NetworkListing | undefined;
  for (;;) {
    signal.throwIfAborted();
    try {
      const listing = await registry.listNetworks({ signal });
      outage.over();
      if (known === undefined || !continuesHistory(known.cursor, listing.cursor))
        yield { type: "snapshot", networks: listing.networks };
      else {
        const events = changes(known, listing);
        if (events.length > 0) yield { type: "events", events };
      }
      known = listing;
    } catch (error) {
      signal.throwIfAborted();
      await outage.wait(error, { signal });
      continue;
    }
    await clock.sleep(LOOK_EVERY, { signal });
  }
}

function changes(before: NetworkListing, now: NetworkListing): readonly NetworkEvent[] {
  const event = (type: NetworkEvent["type"]) => (network: string) => ({ type, network });
  return [
    ...before.networks.filter((name) => !now.networks.includes(name)).map(event("removed")),
    ...now.networks.filter((name) => !before.networks.includes(name)).map(event("added")),
  ];
}
