import type { Arena } from "../lib/arena.ts";
import { addressOf, poll, read } from "./packet-calls.ts";
import type { PollerPort, PollerWants } from "./packet-ports.ts";

/** `struct pollfd`: descriptor i32, events i16, what happened i16. A negative descriptor is passed over. */
const POLLFD = 8;
const POLLIN = 0x1;
const POLLOUT = 0x4;
const TUN = 0;
const SOCKET = 1;
const WAKE = 2;

/** {@link PollerPort} by poll(2). */
export class Poller implements PollerPort {
  isTunReady = false;
  isSocketReady = false;
  isWoken = false;
  tun = -1;
  socket = -1;
  readonly #view: DataView;
  readonly #base: number;
  readonly #at: number;
  readonly #wake: number;
  readonly #scratch: number;

  /** @param wake an eventfd(2) */
  constructor(arena: Arena, wake: number) {
    this.#view = arena.view;
    this.#base = addressOf(arena);
    this.#at = arena.reserve(3 * POLLFD);
    this.#scratch = arena.reserve(8);
    this.#wake = wake;
  }

  wait({ tun, socket, room }: PollerWants, timeout: number): void {
    this.#ask(TUN, tun ? this.tun : -1, POLLIN);
    this.#ask(SOCKET, socket || room ? this.socket : -1, (socket ? POLLIN : 0) | (room ? POLLOUT : 0));
    this.#ask(WAKE, this.#wake, POLLIN);
    const isReady = poll(this.#base + this.#at, 3, timeout) > 0;
    this.isTunReady = isReady && this.#answer(TUN) !== 0;
    this.isSocketReady = isReady && this.#answer(SOCKET) !== 0;
    this.isWoken = isReady && this.#answer(WAKE) !== 0;
    if (this.isWoken) read(this.#wake, this.#base + this.#scratch, 8);
  }

  #ask(which: number, fd: number, events: number): void {
    const at = this.#at + which * POLLFD;
    this.#view.setInt32(at, fd, true);
    this.#view.setUint16(at + 4, events, true);
    this.#view.setUint16(at + 6, 0, true);
  }

  #answer(which: number): number {
    return this.#view.getUint16(this.#at + which * POLLFD + 6, true);
  }
}
