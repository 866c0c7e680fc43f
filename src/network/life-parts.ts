import type { Dataplane } from "../dataplane/dataplane.ts";
import type { NetworkFirewall } from "./firewall/network-firewall.ts";
import type { HostMemory } from "./host-memory.ts";
import type { KnownLeases } from "./known-leases.ts";
import type { NetworkOptions } from "./network-options.ts";
import type { StatusTeller } from "./status-teller.ts";

/** What outlives a session: the next one goes on with it. */
export interface LifeParts {
  readonly options: NetworkOptions;
  readonly dataplane: Dataplane;
  readonly firewall: NetworkFirewall | undefined;
  readonly memory: HostMemory;
  readonly known: KnownLeases;
  readonly status: StatusTeller;
}
