import { LEASE_TTL } from "../../lease/lease.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock, Instant } from "../../lib/clock.ts";
import { describeError } from "../../lib/errors.ts";
import type { Logger } from "../../lib/logger.ts";
import type { EtcdV3Client, EtcdV3Deps } from "./etcd-v3-client.ts";

/** When a lease ends. */
export interface End {
  readonly expiresAt: Instant;
  readonly expiration: Date;
}

/** An etcd lease to hang a key on. Times are counted from before it was asked for, so that ours ends first. */
export interface Grant extends End {
  readonly id: bigint;
}

/** The etcd leases that keys of leases hang on: they vanish with them. */
export class Grants {
  readonly #client: EtcdV3Client;
  readonly #clock: Clock;
  readonly #logger: Logger;

  constructor(client: EtcdV3Client, { clock, logger }: EtcdV3Deps) {
    this.#client = client;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** A new one, for a key that is to be written. */
  async give(key: string, { signal }: Abortable): Promise<Grant> {
    const asked = this.#clock.now();
    const { ID, TTL } = await this.#client.grantLease(LEASE_TTL / 1000, { signal, purpose: `lease for ${key}` });
    return { id: ID, ...this.#endAfter(Number(TTL), asked) };
  }

  /** Asking for it is a call of its own. */
  async endOf(id: bigint, { signal }: Abortable): Promise<End> {
    const purpose = `ask for the end of lease ${id.toString(16)}`;
    const { TTL } = await this.#client.leaseTimeToLive(id, { signal, purpose, keys: false });
    return this.#endAfter(Math.max(0, Number(TTL)), this.#clock.now()); // -1: it has just ended
  }

  /** Tidies up; an etcd lease that stays behind ends by itself within a day. */
  async revokeIfUnused(id: bigint, { signal }: Abortable): Promise<void> {
    const purpose = `revoke lease ${id.toString(16)}`;
    try {
      const { keys, TTL } = await this.#client.leaseTimeToLive(id, { signal, purpose, keys: true });
      if (TTL >= 0n && keys.length === 0) await this.#client.revokeLease(id, { signal, purpose });
    } catch (error) {
      if (!signal.aborted)
        this.#logger.debug("unused etcd lease could not be revoked", { error: describeError(error) });
    }
  }

  #endAfter(seconds: number, from: Instant): End {
    const left = from + seconds * 1000 - this.#clock.now();
    return {
      expiresAt: from + seconds * 1000,
      expiration: new Date(Math.round(this.#clock.wallClock().getTime() + left)),
    };
  }
}
