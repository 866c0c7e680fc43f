import type { UnreachablePeer } from "../backend/backend.ts";
import { equalPrefix, formatPrefix } from "../ip/prefix.ts";
import type { Lease } from "../lease/lease.ts";
import type { LeaseTableChange } from "../lease/lease-table.ts";
import type { RejectedPeer } from "../lease/peers.ts";
import type { Logger } from "../lib/logger.ts";

/** More than this many at once are only counted. */
const ONE_BY_ONE = 5;

/** Tells an operator of peers that come, change and go, and once of each that is of no use. */
export class PeerReport {
  readonly #logger: Logger;
  #ignored = new Map<string, string>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  changed({ added, changed, removed }: LeaseTableChange, own: Lease): void {
    this.#each("added", added, own);
    this.#each("changed", changed, own);
    this.#each("removed", removed, own);
  }

  ignored(rejected: readonly RejectedPeer[], unreachable: readonly UnreachablePeer[]): void {
    const now = new Map(
      [...rejected.map(({ lease, reason }) => ({ subnet: lease.subnet, reason })), ...unreachable].map(
        ({ subnet, reason }) => [formatPrefix(subnet), reason],
      ),
    );
    const news = [...now].filter(([subnet, reason]) => this.#ignored.get(subnet) !== reason);
    this.#ignored = now;
    for (const [subnet, reason] of news.slice(0, ONE_BY_ONE)) this.#logger.warn("peer ignored", { subnet, reason });
    if (news.length > ONE_BY_ONE) this.#logger.warn("more peers ignored", { count: news.length - ONE_BY_ONE });
  }

  #each(what: string, leases: readonly Lease[], own: Lease): void {
    const others = leases.filter((lease) => !equalPrefix(lease.subnet, own.subnet));
    if (others.length > ONE_BY_ONE) this.#logger.info(`peers ${what}`, { count: others.length });
    else
      for (const { subnet, attributes } of others)
        this.#logger.info(`peer ${what}`, { subnet, publicIP: attributes.publicIP });
  }
}
