import type { PollerPort, PollerWants } from "../../kernel/packet-ports.ts";
import type { Inward } from "./inward.ts";
import type { Outward } from "./outward.ts";

/** Rounds of work after which other threads' messages are looked for, though there is more to do. */
const ROUNDS = 256;

/** What stands between one message of another thread and the next. */
export interface PacketLoopOptions {
  readonly outward: Outward;
  readonly inward: Inward;
  readonly poller: PollerPort;
  /** Handles what other threads want. @returns whether to go on */
  readonly onWoken: () => boolean;
  /** The TUN device has been deleted: nothing is read from it until there is another. */
  readonly onTunGone: () => void;
}

const WANTS: Readonly<Record<"both" | "neither" | "room" | "inward", PollerWants>> = {
  both: { tun: true, socket: true, room: false },
  room: { tun: false, socket: true, room: true },
  inward: { tun: false, socket: true, room: false },
  neither: { tun: false, socket: false, room: false },
};

/** Moves packets both ways until it is told to stop. Never returns to the event loop meanwhile. */
export function runPacketLoop({ outward, inward, poller, onWoken, onTunGone }: PacketLoopOptions): void {
  let out = outward.run();
  let back = inward.run();
  for (let round = 1; ; round++) {
    const isIdle = out !== "more" && back !== "more";
    if (isIdle || round % ROUNDS === 0) {
      const wants = out === "blocked" ? WANTS.room : out === "gone" ? WANTS.inward : WANTS.both;
      poller.wait(wants, isIdle ? -1 : 0);
      if (poller.isWoken) {
        if (!onWoken()) return;
        out = "more"; // a new device may be there
      }
      if (poller.isTunReady || (out === "blocked" && poller.isSocketReady)) out = "more";
      if (poller.isSocketReady) back = "more";
    }
    if (out === "more") {
      out = outward.run();
      if (out === "gone" && outward.hasTun) onTunGone();
    }
    if (back === "more") back = inward.run();
  }
}
