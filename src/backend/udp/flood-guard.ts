import { ENOMEM, errnoName } from "../../kernel/errno.ts";
import { MOST_SOURCES, SAMPLE, type SocketPort } from "../../kernel/packet-ports.ts";
import type { Milliseconds } from "../../lib/clock.ts";
import { widenRanges } from "./source-ranges.ts";

/** So many messages of strangers within so long are a flood: more than 2,560 a second. */
const FLOOD = 256;
const WITHIN: Milliseconds = 100;
/** How long it is looked whether a flood goes on, and how many messages must be seen then for it to do so: 512 a second, sampled. */
const WATCH: Milliseconds = 2_000;
const FEW = 4;
/** Looks at the poller after which the clock is looked at. */
const TURNS = 64;

/** What the guard needs of the packet thread. */
export interface FloodGuardOptions {
  /** All outer sources that are no strangers. @see sourceRanges */
  readonly sources: () => Uint32Array;
  /** Milliseconds that never step back. */
  readonly now: () => Milliseconds;
  readonly degraded: (reason: string) => void;
}

/**
 * While strangers flood the socket, has the kernel drop what they send: there it costs a tenth. A sample still comes through, so that
 * drops are counted, and the end of the flood is seen. At all other times each stranger's packet is seen, and no program is asked.
 */
export class FloodGuard {
  /** How many packets a stranger's packet stands for that is seen now. */
  weight = 1;
  readonly #options: FloodGuardOptions;
  #socket: SocketPort | undefined;
  /** Whether the kernel drops strangers' packets. */
  isUp = false;
  #isFresh = false;
  #isRefused = false;
  #seen = 0;
  #turns = 0;
  #since = Number.NEGATIVE_INFINITY;

  constructor(options: FloodGuardOptions) {
    this.#options = options;
  }

  /** The socket may come from an earlier daemon with a filter that knows other peers. */
  setSocket(socket: SocketPort | undefined): void {
    this.#socket = socket;
    this.#isRefused = false;
    this.#lower();
  }

  /** There are other peers now: none of them may be kept out. */
  sourcesChanged(): void {
    if (this.isUp) this.#attach();
  }

  /** A message of a stranger has come. */
  saw(): void {
    if (++this.#seen < FLOOD || this.isUp || this.#isRefused) return;
    const now = this.#options.now();
    if (now - this.#since <= WITHIN) {
      this.#attach();
      this.#isFresh = true;
    }
    this.#begin(now);
  }

  /**
   * All that the last receiving brought has been looked at, and the queue is empty. What waited in it from before the filter was no
   * sample; and the first time, that may be what has just been looked at.
   */
  drained(): void {
    if (!this.isUp) return;
    if (this.#isFresh) this.#isFresh = false;
    else this.weight = SAMPLE;
  }

  /** How long may be waited for packets, in milliseconds; -1 for ever. */
  get patience(): Milliseconds {
    return this.isUp ? WATCH : -1;
  }

  /** @param isQuiet whether nothing came in all of `patience` */
  turn(isQuiet: boolean): void {
    if (!this.isUp || (++this.#turns < TURNS && !isQuiet)) return;
    this.#turns = 0;
    const now = this.#options.now();
    if (now - this.#since < WATCH) return;
    if (this.#seen < FEW) this.#lower();
    this.#begin(now);
  }

  #begin(now: Milliseconds): void {
    this.#since = now;
    this.#seen = 0;
  }

  #lower(): void {
    this.#socket?.limitSources(undefined);
    this.isUp = false;
    this.weight = 1;
  }

  /** With more ranges than the kernel takes, some strangers come through: those between two peers. */
  #attach(): void {
    const ranges = this.#options.sources();
    let result = -ENOMEM;
    for (let most = MOST_SOURCES; most >= 1 && result === -ENOMEM; most >>= 1)
      result = this.#socket?.limitSources(widenRanges(ranges, most)) ?? 0;
    this.isUp = result === 0;
    if (result === 0) return;
    this.#lower(); // one that knows former peers must not stay
    this.#isRefused = true;
    this.#options.degraded(
      `the kernel takes no filter for the socket (${errnoName(-result)}): a flood of strangers costs more`,
    );
  }
}
