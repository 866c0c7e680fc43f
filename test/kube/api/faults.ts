/** What is done to a request instead of answering it, or while it is answered. */
export type Fault =
  /** Answered with this status; a 429 or 503 may say when to come again. */
  | { readonly kind: "status"; readonly code: number; readonly retryAfter?: number }
  /** The connection is closed without an answer. */
  | { readonly kind: "reset" }
  /** Never answered. */
  | { readonly kind: "hang" }
  /** The answer's body comes in pieces of so many bytes, one every so many milliseconds. */
  | { readonly kind: "slow"; readonly bytes: number; readonly every: number }
  /** The answer ends in the midst of its body after so many bytes. */
  | { readonly kind: "truncate"; readonly bytes: number }
  /** The body is this text. */
  | { readonly kind: "nonsense"; readonly text: string };

export interface FaultRule {
  /** Of the call, as in the log of calls: `list`, `watch`, `get`, `patch`; any if left out. */
  readonly verb?: string;
  /** How many calls of the kind are left alone first, 0. */
  readonly after?: number;
  /** How many calls it hits, 1. */
  readonly times?: number;
  readonly fault: Fault;
}

/** Faults that are waiting for their calls. */
export class Faults {
  #rules: { readonly rule: FaultRule; left: number; spared: number }[] = [];

  add(...rules: readonly FaultRule[]): void {
    this.#rules.push(...rules.map((rule) => ({ rule, left: rule.times ?? 1, spared: rule.after ?? 0 })));
  }

  clear(): void {
    this.#rules = [];
  }

  /** The first that fits; it is used up by that. */
  take(verb: string): Fault | undefined {
    for (const each of this.#rules) {
      const { rule, left } = each;
      if (left === 0 || (rule.verb !== undefined && rule.verb !== verb) || each.spared-- > 0) continue;
      each.left--;
      return rule.fault;
    }
    return undefined;
  }
}
