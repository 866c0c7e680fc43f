import type { Pulse } from "../lib/pulse.ts";

/** Which loops there are, and which of them are stuck. */
export class Liveness {
  readonly #loops = new Map<symbol, { readonly name: string; readonly pulse: () => Pulse; last: Pulse | undefined }>();

  /**
   * Has an eye on a loop until it is disposed of.
   * @param name for the log: `the reconcile loop of network "blue"`
   */
  watch(name: string, pulse: () => Pulse): Disposable {
    const key = Symbol(name);
    this.#loops.set(key, { name, pulse, last: undefined });
    return { [Symbol.dispose]: () => void this.#loops.delete(key) };
  }

  /**
   * Names of the loops that had something to do when this was asked last and have not made a step since. Told by steps and not by a
   * clock: a host that slept, or stood still for a while, has no stuck loops.
   */
  stuck(): readonly string[] {
    const stuck: string[] = [];
    for (const loop of this.#loops.values()) {
      const { last, name } = loop;
      loop.last = loop.pulse();
      if (last?.isDue === true && loop.last.isDue && loop.last.steps === last.steps) stuck.push(name);
    }
    return stuck;
  }
}
