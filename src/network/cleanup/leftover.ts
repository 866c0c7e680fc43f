import type { Abortable } from "../../lib/abortable.ts";

/** Something that a flannel made on this host. */
export interface Leftover {
  /** For people, one word: `device`, `route`, `process`. */
  readonly kind: string;
  /** Which one, as it would be shown by the host's own tools. */
  readonly name: string;
  /** Takes it away; not an error if it has gone meanwhile. @throws why it cannot */
  remove(options: Abortable): Promise<void>;
}

/** Something that looks like flannel's, and why it is left alone. */
export interface LeftAlone {
  readonly kind: string;
  readonly name: string;
  readonly reason: string;
}

export interface Findings {
  /** In the order in which they are to be removed. */
  readonly leftovers: readonly Leftover[];
  readonly leftAlone: readonly LeftAlone[];
  /** What should go and cannot even be looked for, and why. */
  readonly failed?: readonly LeftAlone[];
}

/** Looks for what flannels left in one part of the host. */
export interface LeftoverSource {
  find(options: Abortable): Promise<Findings>;
}
