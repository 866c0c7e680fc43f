import type { Prefix } from "../ip/prefix.ts";
import type { Milliseconds } from "../lib/clock.ts";
import type { Dialect } from "./api-json.ts";
import type { CursorNumber } from "./cursor-text.ts";
import type { LeaseListing } from "./served-store.ts";

/** A client that wants to hear what comes next. */
export interface Poll {
  readonly since: CursorNumber;
  readonly dialect: Dialect;
  /** Only of this subnet. */
  readonly subnet?: Prefix | undefined;
  /** How long to wait; Infinity if not given. */
  readonly patience?: Milliseconds;
}

/** An answer, or that only a snapshot helps: what the client knows is too old, or of another history. */
export type PollAnswer = { readonly body: string | Buffer } | "snapshot";

/** Nothing has happened yet. */
export interface Pending {
  /** Begins to wait, once. @param answer called at most once, as soon as something happens @returns what ends it before */
  wait(answer: (answer: PollAnswer) => void): () => void;
}

/** The present leases in the words of the API, put into words once however many ask. */
export interface Snapshot extends LeaseListing {
  body(dialect: Dialect): Buffer;
}
