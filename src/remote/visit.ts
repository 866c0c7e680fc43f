import type { ServerResponse } from "node:http";
import type { Abortable } from "../lib/abortable.ts";
import type { Parked } from "./reply.ts";

/** Made once: thousands may go at the same time. */
const CLIENT_GONE = new DOMException("the client is gone", "AbortError");

/** A client from its request to its answer, or until it goes. */
export class Visit implements Abortable {
  #gone: AbortController | undefined;
  #leave: (() => void) | undefined;
  #isOver = false;

  constructor(response: ServerResponse) {
    response.once("close", () => {
      this.#isOver = true;
      if (response.writableFinished) return;
      this.#leave?.();
      this.#gone?.abort(CLIENT_GONE);
    });
  }

  /** Made for those who look at it: who only waits has no need of one. */
  get signal(): AbortSignal {
    this.#gone ??= new AbortController();
    if (this.#isOver) this.#gone.abort(CLIENT_GONE);
    return this.#gone.signal;
  }

  park(parked: Parked, deliver: Parameters<Parked["wait"]>[0]): void {
    if (!this.#isOver) this.#leave = parked.wait(deliver);
  }
}
