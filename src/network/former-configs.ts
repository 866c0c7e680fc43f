import type { Overlay } from "../backend/overlay.ts";
import type { RouteClaim } from "../cloud/cloud.ts";
import { formatClaim, sameClaim } from "../cloud/former-claim.ts";
import type { Abortable } from "../lib/abortable.ts";
import { type BackoffRange, backoff } from "../lib/backoff.ts";
import type { Milliseconds } from "../lib/clock.ts";
import { Scope } from "../lib/scope.ts";
import { untilItWorks } from "../lib/until-it-works.ts";
import type { Configured } from "./configured.ts";
import type { LifeParts } from "./life-parts.ts";
import { retire } from "./retire.ts";
import { retireClaim } from "./retire-claims.ts";

const RETIREMENT_RETRY: BackoffRange = { first: 1_000, most: 60_000 };
/** Until then other hosts have learnt of a changed config, too, and need a former route no longer. */
const OTHERS_FOLLOW: Milliseconds = 60_000;
/** A cloud is everybody's: what it refuses is mended by people. */
const CLAIM_RETRY: BackoffRange = { first: 10_000, most: 600_000 };

/** What earlier configs of this network left on this host and in a cloud. */
export class FormerConfigs {
  readonly #parts: Pick<LifeParts, "options" | "dataplane" | "firewall" | "memory" | "known">;
  readonly #configured: Configured;
  readonly #overlay: Overlay;

  /** @param overlay the present config's */
  constructor(parts: LifeParts, configured: Configured, overlay: Overlay) {
    this.#parts = parts;
    this.#configured = configured;
    this.#overlay = overlay;
  }

  /** What earlier configs of this network have left in a cloud's tables, or may have. */
  get claims(): readonly RouteClaim[] {
    const { claim } = this.#overlay;
    return this.#parts.memory.state.claims.filter((former) => claim === undefined || !sameClaim(former, claim));
  }

  /** Removes all of it, each once nobody needs it any more. */
  async retire({ signal }: Abortable): Promise<void> {
    await using scope = new Scope(signal);
    scope.spawn((signal) => this.#retireRows({ signal }));
    for (const claim of this.claims) scope.spawn((signal) => this.#retireClaim(claim, { signal }));
    await scope.join();
  }

  async #retireClaim(former: RouteClaim, { signal }: Abortable): Promise<void> {
    const { known, memory, options } = this.#parts;
    const { cloud, clock, logger } = options;
    do await clock.sleep(OTHERS_FOLLOW, { signal });
    while (!known.isComplete);
    let failures = 0;
    await untilItWorks(
      () => retireClaim(cloud, former, { kept: this.#overlay.claim, logger, signal }),
      `routes of an earlier config cannot be removed: ${formatClaim(former)}`,
      { clock, logger, signal, delay: () => backoff(++failures, CLAIM_RETRY) },
    );
    await memory.remember({ claims: memory.state.claims.filter((claim) => claim !== former) });
  }

  /** Once the present config is in place and all peers are known. */
  async #retireRows({ signal }: Abortable): Promise<void> {
    const { known, dataplane, firewall, memory, options } = this.#parts;
    const { kernel, clock, logger } = options;
    const { heritage } = this.#configured;
    const { networks } = heritage;
    const own = this.#overlay.parts.map(({ range }) => range.network);
    const links = heritage.links.filter((link) => !this.#overlay.links.includes(link));
    for (let attempts = 1; ; attempts++) {
      if (known.isComplete) {
        await dataplane.attempted({ signal });
        const rules = await firewall?.leftovers([...own, ...networks], networks, { signal });
        if (await retire(kernel, { links, networks, rules }, { logger, signal })) break;
      }
      await clock.sleep(backoff(attempts, RETIREMENT_RETRY), { signal });
    }
    await memory.remember({ links: this.#overlay.links, networks: own });
  }
}
