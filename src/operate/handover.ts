import type { DescriptorKeeper } from "../kernel/descriptor-keeper.ts";
import type { Abortable } from "../lib/abortable.ts";

/** One network's keepers as one: each keeps all, and the first that has something gives it. */
export class Handover implements DescriptorKeeper {
  readonly #keepers: readonly DescriptorKeeper[];
  /** Whether a backend has asked for something since the last READY. */
  #isUsed = false;

  /** @param keepers are disposed with it, the last first */
  constructor(keepers: readonly DescriptorKeeper[]) {
    this.#keepers = keepers;
  }

  async take(names: readonly string[], options: Abortable): Promise<ReadonlyMap<string, number>> {
    this.#isUsed = true;
    const taken = new Map<string, number>();
    for (const keeper of this.#keepers) {
      const missing = names.filter((name) => !taken.has(name));
      if (missing.length === 0) break;
      for (const [name, fd] of await keeper.take(missing, options)) taken.set(name, fd);
    }
    return taken;
  }

  async keep(descriptors: ReadonlyMap<string, number>, options: Abortable): Promise<void> {
    this.#isUsed = true;
    await Promise.all(this.#keepers.map((keeper) => keeper.keep(descriptors, options)));
  }

  /** The network is ready: what an earlier backend left and the present one has not asked for is let go. */
  async ready(options: Abortable): Promise<void> {
    if (!this.#isUsed) await this.keep(new Map(), options);
    this.#isUsed = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await using stack = new AsyncDisposableStack();
    for (const keeper of this.#keepers) stack.use(keeper);
  }
}
