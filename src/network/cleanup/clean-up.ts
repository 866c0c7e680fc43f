import type { Abortable } from "../../lib/abortable.ts";
import { describeError, isAbort } from "../../lib/errors.ts";
import type { LeftAlone, Leftover, LeftoverSource } from "./leftover.ts";

export interface CleanUpReport {
  readonly removed: readonly Pick<Leftover, "kind" | "name">[];
  readonly leftAlone: readonly LeftAlone[];
  /** What should have gone and did not, and why. */
  readonly failed: readonly LeftAlone[];
}

/**
 * Removes what the sources find, source by source: what an earlier one removes may take some of a later one's along.
 * One thing that cannot be removed keeps nothing else.
 * @param isRehearsal only tells what would be removed
 */
export async function cleanUp(
  sources: readonly LeftoverSource[],
  { isRehearsal, signal }: Abortable & { readonly isRehearsal: boolean },
): Promise<CleanUpReport> {
  const removed: Leftover[] = [];
  const leftAlone: LeftAlone[] = [];
  const failed: LeftAlone[] = [];
  for (const source of sources) {
    const found = await source.find({ signal });
    leftAlone.push(...found.leftAlone);
    failed.push(...(found.failed ?? []));
    for (const leftover of found.leftovers) {
      const { kind, name } = leftover;
      try {
        if (!isRehearsal) await leftover.remove({ signal });
        removed.push(leftover);
      } catch (error) {
        if (isAbort(error, signal)) throw error;
        failed.push({ kind, name, reason: describeError(error) });
      }
    }
  }
  return { removed: removed.map(({ kind, name }) => ({ kind, name })), leftAlone, failed };
}
