import { equalPrefix, formatPrefix } from "../ip/prefix.ts";
import type { Lease, LeaseUpdate, NetworkName } from "../lease/lease.ts";
import type { SubnetManager } from "../lease/subnet-manager.ts";
import type { Abortable } from "../lib/abortable.ts";
import { sleepAwake } from "../lib/awake.ts";
import type { Clock, Instant, Milliseconds } from "../lib/clock.ts";

/** A holder that lives answers in milliseconds; one whose host or store is busy should not lose its lease. */
const PATIENCE: Milliseconds = 2_000;
/** Whoever was refused asks again only after this: each question is a write of both. */
const ASK_AGAIN: Milliseconds = 30_000;

export interface LeaseHolderParts {
  readonly store: Pick<SubnetManager, "updateLease" | "watchLeases">;
  readonly network: NetworkName;
  readonly clock: Clock;
}

interface Verdict {
  readonly revision: bigint;
  readonly isAlive: boolean;
  readonly until: Instant;
}

/**
 * Asks whoever holds a lease whether it lives, through the store, which both reach wherever they are: the lease is renewed with what it
 * says, and a holder that sees its lease renewed by somebody else renews it itself at once ({@link OwnLease}). No other host notices.
 * 0.7.0 and a host whose flanneld does not run do not answer.
 */
export class LeaseHolder {
  readonly #parts: LeaseHolderParts;
  readonly #verdicts = new Map<string, Verdict>();

  constructor(parts: LeaseHolderParts) {
    this.#parts = parts;
  }

  /**
   * Takes 2 s if nobody answers: then the lease that was found is of an older revision, and the present one can be taken.
   * @throws {LeaseLostError} if the lease is gone or another's meanwhile
   */
  async ask(found: Lease, { signal }: Abortable): Promise<"alive" | "silent" | "silent, as known"> {
    const key = formatPrefix(found.subnet);
    const { clock, store, network } = this.#parts;
    const known = this.#verdicts.get(key);
    if (known?.isAlive === true && clock.now() < known.until) return "alive";
    if (known?.isAlive === false && known.revision === found.revision) return "silent, as known";
    const asked = await store.updateLease(network, found, found.attributes, { signal });
    const isAlive = await this.#isAnswered(asked, { signal });
    this.#verdicts.set(key, { revision: asked.revision, isAlive, until: clock.now() + ASK_AGAIN });
    return isAlive ? "alive" : "silent";
  }

  async #isAnswered(asked: Lease, { signal }: Abortable): Promise<boolean> {
    const { clock, store, network } = this.#parts;
    const end = new AbortController();
    const options = { signal: AbortSignal.any([signal, end.signal]) };
    const watch = async () => {
      for await (const update of store.watchLeases(network, options))
        if (leasesOf(update).some((lease) => isAnswer(lease, asked))) return true;
      return false;
    };
    const tooLate = async () => {
      await sleepAwake(clock, PATIENCE, options);
      return false;
    };
    const both = [watch(), tooLate()];
    try {
      return await Promise.race(both);
    } finally {
      end.abort();
      await Promise.allSettled(both);
    }
  }
}

function leasesOf(update: LeaseUpdate): readonly Lease[] {
  if (update.type === "snapshot") return update.leases;
  return update.events.flatMap((event) => (event.type === "added" ? event.lease : []));
}

function isAnswer(lease: Lease, asked: Lease): boolean {
  return equalPrefix(lease.subnet, asked.subnet) && lease.revision > asked.revision;
}
