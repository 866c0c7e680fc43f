import type { Abortable } from "../lib/abortable.ts";

/** Keeps descriptors open while no daemon runs, so that their queues hold packets until the next one. */
export interface DescriptorKeeper extends AsyncDisposable {
  /**
   * What was kept last under these names, by an earlier daemon of this host or by this one; those that nobody kept are missing.
   * Each is a descriptor of its own, the caller's to close; what it is of, the caller must see for itself. They stay kept until the
   * next `keep()`. Waits, 2 s at most, for a daemon that is just ending; takes nothing from one that goes on living.
   */
  take(names: readonly string[], options: Abortable): Promise<ReadonlyMap<string, number>>;
  /**
   * From now on keeps these instead of what was kept before; an empty map lets go. The numbers stay the caller's, and may be closed
   * once this has resolved. Not for the way to READY: it takes milliseconds. A failure is logged and then nothing is kept.
   * @param descriptors names of letters, digits, `-` and `_`
   */
  keep(descriptors: ReadonlyMap<string, number>, options: Abortable): Promise<void>;
}
