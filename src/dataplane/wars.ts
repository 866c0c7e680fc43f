import type { Instant, Milliseconds } from "../lib/clock.ts";

/** Rows that others undo more often than this within {@link WINDOW} are left alone for a while: a war helps nobody. */
const MOST_UNDONE = 5;
const WINDOW: Milliseconds = 60_000;
export const TRUCE: Milliseconds = 10_000;

interface War {
  /** When it was undone within the last {@link WINDOW}: few times, since it must be put back in between. */
  readonly times: readonly Instant[];
  readonly isKnown: boolean;
}

export interface Verdict {
  /** When to put it back; undefined for at once. */
  readonly truceUntil: Instant | undefined;
  /** The war has just begun. */
  readonly isNews: boolean;
}

/** Remembers how often others undid which rows of one table. */
export class Wars {
  readonly #wars = new Map<string, War>();

  /** Others have undone this row once more. */
  undone(key: string, now: Instant): Verdict {
    const war = this.#wars.get(key);
    const times = [...(war?.times ?? []).filter((time) => now - time < WINDOW), now];
    const isWar = times.length > MOST_UNDONE;
    const wasKnown = war?.isKnown ?? false;
    this.#wars.set(key, { times, isKnown: wasKnown || isWar });
    return { truceUntil: isWar ? now + TRUCE : undefined, isNews: isWar && !wasKnown };
  }

  /** Forgets the rows that nobody has undone lately. */
  forgetPeace(now: Instant): void {
    for (const [key, { times }] of this.#wars) if (now - (times.at(-1) ?? 0) >= WINDOW) this.#wars.delete(key);
  }

  /** Rows remembered. */
  get size(): number {
    return this.#wars.size;
  }
}
