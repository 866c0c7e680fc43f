import { type Layer, layer } from "../dataplane/table.ts";
import type { Kernel } from "../kernel/kernel.ts";

/** The devices that an earlier backend of this network left and nobody wants now: emptied last, as the first layer is. */
export function formerLinks(kernel: Kernel, owned: readonly string[]): readonly Layer[] {
  return owned.length === 0 ? [] : [layer(kernel.linkTable({ owned }), [])];
}
