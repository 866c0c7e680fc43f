import { describeError } from "../lib/errors.ts";

/** Whether the store answers, as those say who watch it. */
export class StoreHealth {
  readonly #onChange: () => void;
  readonly #outages = new Map<object, { readonly since: Date; readonly reason: string }>();

  constructor(onChange: () => void = () => {}) {
    this.#onChange = onChange;
  }

  /** Since when the store is away, by the wall clock, and why; undefined if it is there. */
  get outage(): { readonly since: Date; readonly reason: string } | undefined {
    const [first] = this.#outages.values();
    return first;
  }

  /** @param who watches, and tells when it is over */
  away(who: object, since: Date, error: unknown): void {
    this.#outages.set(who, { since: this.#outages.get(who)?.since ?? since, reason: describeError(error) });
    this.#onChange();
  }

  /** It answers, or `who` does not watch any more. */
  over(who: object): void {
    if (this.#outages.delete(who)) this.#onChange();
  }
}
