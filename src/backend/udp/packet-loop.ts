import type { PollerPort } from "../../kernel/packet-ports.ts";
import type { FloodGuard } from "./flood-guard.ts";
import type { Inward } from "./inward.ts";
import type { Outcome, Outward } from "./outward.ts";

/** Rounds of work after which a look is taken who else wants something, though there is more to do: the other direction, other threads. */
const ROUNDS = 4;
/** How long a socket that does nothing but fail is left alone, in milliseconds. */
const RESPITE = 100;

/** What stands between one message of another thread and the next. */
export interface PacketLoopOptions {
  readonly outward: Outward;
  readonly inward: Inward;
  readonly poller: PollerPort;
  readonly guard: FloodGuard;
  /** Handles what other threads want. @returns whether to go on */
  readonly onWoken: () => boolean;
  /** The TUN device has been deleted: nothing is read from it until there is another. */
  readonly onTunGone: () => void;
  /** What is of use while there are no packets, in small steps. @returns whether there is more of it */
  readonly onIdle?: () => boolean;
}

/** Moves packets both ways until it is told to stop. Never returns to the event loop meanwhile. */
export function runPacketLoop(options: PacketLoopOptions): void {
  const { outward, inward, poller, guard, onWoken, onTunGone, onIdle } = options;
  const wants = { tun: false, socket: false, room: false };
  let out: Outcome = "more";
  let back: Outcome = "more";
  let hasMore = onIdle !== undefined;
  for (let round = 1; ; round++) {
    if (out === "more") {
      out = outward.run();
      if (out === "gone" && outward.hasTun) onTunGone();
    }
    if (back === "more") back = inward.run();
    const isIdle = out !== "more" && back !== "more";
    if (!isIdle && round % ROUNDS !== 0) continue;
    const isFailing = back === "gone" && inward.socket !== undefined;
    wants.tun = out === "empty" || out === "more";
    wants.room = out === "blocked";
    wants.socket = back !== "gone";
    poller.wait(wants, !isIdle || hasMore ? 0 : isFailing ? RESPITE : guard.patience);
    const isQuiet = isIdle && !poller.isTunReady && !poller.isSocketReady && !poller.isWoken;
    if (isQuiet && hasMore) {
      hasMore = onIdle?.() ?? false;
      continue;
    }
    guard.turn(isQuiet);
    if (poller.isWoken) {
      if (!onWoken()) return;
      out = back = "more"; // a new device or socket may be there
    }
    if (poller.isTunReady || (out === "blocked" && poller.isSocketReady)) out = "more";
    if (poller.isSocketReady || isFailing) back = "more";
  }
}
