import type { Pulse } from "../lib/pulse.ts";

/** Which loops there are, and which of them are stuck. */
export class Liveness {
  readonly #loops = new Map<symbol, { readonly name: string; readonly pulse: () => Pulse }>();

  /**
   * Has an eye on a loop until it is disposed of.
   * @param name for the log: `the reconcile loop of network "blue"`
   */
  watch(name: string, pulse: () => Pulse): Disposable {
    const key = Symbol(name);
    this.#loops.set(key, { name, pulse });
    return { [Symbol.dispose]: () => void this.#loops.delete(key) };
  }

  /**
   * Somebody who looks from time to time, at his own pace: he remembers what he saw last. Each look gives the names of the loops that had
   * something to do at the look before and have not made a step since. Told by steps and not by a clock: a host that slept, or stood
   * still for a while, has no stuck loops.
   */
  observer(): () => readonly string[] {
    let last = new Map<symbol, Pulse>();
    return () => {
      const seen = new Map([...this.#loops].map(([key, { pulse }]) => [key, pulse()]));
      const stuck = [...this.#loops].filter(([key]) => standsStill(last.get(key), seen.get(key)));
      last = seen;
      return stuck.map(([, { name }]) => name);
    };
  }
}

function standsStill(before: Pulse | undefined, now: Pulse | undefined): boolean {
  return before?.isDue === true && now?.isDue === true && before.steps === now.steps;
}
