import type { DescriptorKeeper } from "./descriptor-keeper.ts";

/** For tests: what keeps descriptors of several daemons of one host, one after the other. Numbers are told as they were given. */
export class FakeDescriptorKeeper implements DescriptorKeeper {
  #kept: ReadonlyMap<string, number> = new Map();

  /** What a daemon that starts now would find. */
  get kept(): ReadonlyMap<string, number> {
    return this.#kept;
  }

  async take(names: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return new Map([...this.#kept].filter(([name]) => names.includes(name)));
  }

  async keep(descriptors: ReadonlyMap<string, number>): Promise<void> {
    this.#kept = new Map(descriptors);
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
