/**
 * node rough-cable-program.ts LINK LINK: hands on Ethernet frames between two links and treats those that carry udp packets badly: some
 * come later than they should, some twice, some with wrong bytes inside. Says "ready", and on SIGTERM how many were treated how.
 */
import { readFileSync } from "node:fs";
import { SystemCallError } from "../../src/kernel/errno.ts";
import { bind, onReadable, recv, SOCK_RAW, send, socket } from "../../src/kernel/libc.ts";

const AF_PACKET = 17;
const ETH_P_ALL = 3;
const PORT = 8285;
const MOST = 16_384;

/** Of 1000 frames. */
const LATE = 30;
const TWICE = 20;
const WRONG = 10;

const counts = { late: 0, twice: 0, wrong: 0, frames: 0 };
let state = 20_261_123;

/** @returns 0 to 999, the same row of them each time */
function random(): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((state / 2 ** 32) * 1000);
}

function open(link: string): number {
  const fd = socket(AF_PACKET, SOCK_RAW, ETH_P_ALL << 8);
  const address = new Uint8Array(20); // `struct sockaddr_ll`
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_PACKET, true);
  view.setUint16(2, ETH_P_ALL);
  view.setInt32(4, Number(readFileSync(`/sys/class/net/${link}/ifindex`, "utf8")), true);
  bind(fd, address);
  return fd;
}

function isOurs(frame: Uint8Array): boolean {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  return frame.length > 80 && view.getUint16(12) === 0x0800 && frame[23] === 17 && view.getUint16(36) === PORT;
}

function forward(fd: number, frame: Uint8Array): void {
  try {
    send(fd, frame, 0);
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error; // the queue is full: a cable loses frames then
  }
}

/** One direction. */
class Direction {
  readonly #to: number;
  readonly #held: { readonly frame: Uint8Array; after: number }[] = [];

  constructor(to: number) {
    this.#to = to;
  }

  pass(frame: Uint8Array): void {
    counts.frames++;
    const dice = isOurs(frame) ? random() : 999;
    if (dice < LATE) {
      counts.late++;
      this.#held.push({ frame, after: 1 + (random() % 20) });
    } else {
      if (dice < LATE + TWICE) {
        counts.twice++;
        forward(this.#to, frame);
      } else if (dice < LATE + TWICE + WRONG) {
        counts.wrong++;
        // In the inner transport header or behind it; the outer checksum is said not to be there, so that nobody outside notices.
        const at = 62 + ((random() * 7919) % (frame.length - 62));
        frame[at] = (frame[at] ?? 0) ^ (1 << (random() & 7));
        frame[40] = frame[41] = 0;
      }
      forward(this.#to, frame);
    }
    for (const held of this.#held) held.after--;
    this.#release((after) => after <= 0);
  }

  /** When nothing else comes. */
  flush(): void {
    this.#release(() => true);
  }

  #release(isDue: (after: number) => boolean): void {
    for (let index = this.#held.length - 1; index >= 0; index--) {
      const held = this.#held[index];
      if (held === undefined || !isDue(held.after)) continue;
      this.#held.splice(index, 1);
      forward(this.#to, held.frame);
    }
  }
}

const [one, other] = process.argv.slice(2).map(open);
if (one === undefined || other === undefined) throw new Error("two links are needed");
const buffer = new Uint8Array(MOST);
for (const [from, to] of [
  [one, other],
  [other, one],
] as const) {
  const direction = new Direction(to);
  onReadable(from, () => {
    for (;;) {
      const size = recv(from, buffer, 0x40); // MSG_DONTWAIT
      if (size < 0) break;
      direction.pass(buffer.slice(0, size));
    }
  });
  setInterval(() => direction.flush(), 2);
}
process.once("SIGTERM", () => {
  console.log(JSON.stringify(counts));
  process.exit(0);
});
console.log("ready");
