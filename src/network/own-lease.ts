import { equalAddress, formatAddress } from "../ip/address.ts";
import { LeaseLostError } from "../lease/errors.ts";
import { LEASE_TTL, type Lease, type NetworkName, untilRenewal } from "../lease/lease.ts";
import { formatLeaseKey } from "../lease/lease-codec.ts";
import { sameAttributes } from "../lease/lease-table.ts";
import type { SubnetManager } from "../lease/subnet-manager.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { BackoffRange } from "../lib/backoff.ts";
import { backoff } from "../lib/backoff.ts";
import type { Clock, Milliseconds } from "../lib/clock.ts";
import { describeError, isAbort } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import { TokenBucket } from "../lib/token-bucket.ts";

const RENEWAL_RETRY: BackoffRange = { first: 1_000, most: 60_000 };
/** Two hosts with one public IP rewrite one lease: they must not do it for ever as fast as they can. */
const REASSERTION: BackoffRange = { first: 500, most: 600_000 };

export interface OwnLeaseOptions {
  readonly store: SubnetManager;
  readonly network: NetworkName;
  readonly renewMargin: Milliseconds;
  /** Who else has our public IP, if that can be found out. */
  readonly twin?: (options: Abortable) => Promise<string | undefined>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** To whoever asks whether we live; two hosts that both hold one lease take each other's answers for questions. */
const ANSWERS = { perSecond: 0.1, burst: 10 } as const;

/** Then it is left as it is until its renewal: two hosts that both insist help nobody. */
const MOST_REASSERTIONS = 3;

/** The lease this host holds: renews it in time, and follows what the store says of it. */
export class OwnLease {
  readonly #options: OwnLeaseOptions;
  /** As it should be; the store's may be older. */
  #lease: Lease;
  /** How often others have rewritten it. */
  #rewritten = 0;
  #mustReassert = false;
  /** Somebody else renewed it with what it says, at this revision: they want to know whether we live. */
  #askedAt: bigint | undefined;
  readonly #answers = new TokenBucket(ANSWERS);
  #wake: () => void = () => {};

  constructor(lease: Lease, options: OwnLeaseOptions) {
    this.#options = options;
    this.#lease = this.#withEnd(lease);
  }

  get lease(): Lease {
    return this.#lease;
  }

  /** The store says this of our subnet now. @throws {LeaseLostError} if it is another host's */
  follow(stored: Lease): void {
    const own = this.#lease;
    if (stored.revision === own.revision) return;
    const { publicIP } = stored.attributes;
    if (!equalAddress(publicIP, own.attributes.publicIP))
      throw new LeaseLostError(own.subnet, `${formatAddress(publicIP)} holds it now`);
    if (formatLeaseKey(stored) !== formatLeaseKey(own))
      throw new LeaseLostError(own.subnet, `its IPv6 subnet was changed: it is ${formatLeaseKey(stored)} now`);
    if (stored.isReservation !== own.isReservation)
      this.#options.logger.info(stored.isReservation ? "lease became a reservation" : "reservation became a lease");
    const { expiresAt: _was, expiration: _displayed, ...rest } = own;
    const end = stored.isReservation
      ? undefined
      : (stored.expiresAt ?? own.expiresAt ?? this.#options.clock.now() + LEASE_TTL);
    this.#lease = {
      ...rest,
      ...(end !== undefined && { expiresAt: end }),
      ...(stored.expiration !== undefined && { expiration: stored.expiration }),
      isReservation: stored.isReservation,
      revision: stored.revision,
    };
    if (sameAttributes(stored, own)) {
      if (stored.revision > own.revision && stored.isReservation === own.isReservation) this.#askedAt = stored.revision;
    } else {
      this.#rewritten++;
      this.#mustReassert = true;
      this.#options.logger.warn("our lease was rewritten: does another host use our public IP?", {
        publicIP: formatAddress(publicIP),
        stored: stored.attributes,
      });
    }
    this.#wake();
  }

  /** Keeps the lease until the signal aborts. @throws {LeaseLostError} */
  async keep({ signal }: Abortable): Promise<never> {
    for (let failures = 0; ; ) {
      await this.#due(failures, signal);
      const { store, network, logger } = this.#options;
      if (!this.#mustReassert && this.#askedAt !== undefined && !this.#answers.take(this.#options.clock.now())) {
        this.#askedAt = undefined;
        continue;
      }
      if (this.#mustReassert && !(await this.#mayReassert({ signal }))) {
        this.#mustReassert = false;
        continue;
      }
      try {
        if (!this.#mustReassert) this.#rewritten = 0;
        this.#mustReassert = false;
        const isAnswer = this.#askedAt !== undefined;
        const written = await store.updateLease(network, this.#lease, this.#lease.attributes, { signal });
        this.#lease = this.#withEnd(written);
        // What was seen of our own write before its answer came is no question.
        if (this.#askedAt !== undefined && this.#askedAt <= written.revision) this.#askedAt = undefined;
        failures = 0;
        const { subnet, expiration } = this.#lease;
        if (isAnswer) logger.info("our lease was renewed by somebody else; it was told that we have it", { subnet });
        else logger.info("lease renewed", { subnet, expiration });
      } catch (error) {
        if (isAbort(error, signal) || error instanceof LeaseLostError) throw error;
        failures++;
        logger.warn("lease could not be renewed; will try again", { reason: describeError(error) });
      }
    }
  }

  /** Whether our attributes may be written over another's. Our own rows stay either way. */
  async #mayReassert({ signal }: Abortable): Promise<boolean> {
    const { twin, logger } = this.#options;
    const { subnet } = this.#lease;
    const owner = await twin?.({ signal });
    if (owner !== undefined)
      logger.warn("another host has our public IP; its lease is left as it is", { owner, subnet });
    else if (this.#rewritten > MOST_REASSERTIONS)
      logger.warn("our lease is rewritten again and again; it is left as it is until its renewal", { subnet });
    else return true;
    return false;
  }

  /** A lease whose end the store did not tell must be renewed all the same. */
  #withEnd(lease: Lease): Lease {
    if (lease.isReservation || lease.expiresAt !== undefined) return lease;
    return { ...lease, expiresAt: this.#options.clock.now() + LEASE_TTL };
  }

  /** Waits until the lease must be written. */
  async #due(failures: number, signal: AbortSignal): Promise<void> {
    const { clock, renewMargin } = this.#options;
    if (failures > 0) return await clock.sleep(backoff(failures, RENEWAL_RETRY), { signal });
    for (;;) {
      const wait = this.#mustReassert
        ? backoff(this.#rewritten, REASSERTION)
        : this.#askedAt === undefined
          ? untilRenewal(this.#lease, clock.now(), renewMargin)
          : 0;
      const changed = new Promise<"changed">((resolve) => {
        this.#wake = () => resolve("changed");
      });
      const nap = new AbortController();
      const slept = clock.sleep(wait, { signal: AbortSignal.any([signal, nap.signal]) }).then(() => "due" as const);
      slept.catch(() => {});
      try {
        if ((await Promise.race([slept, changed])) === "due") return;
      } finally {
        nap.abort();
      }
    }
  }
}
