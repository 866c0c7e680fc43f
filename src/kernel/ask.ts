import type { Abortable } from "../lib/abortable.ts";
import type { Milliseconds } from "../lib/clock.ts";
import { MSG_DONTWAIT, onReadable, recv } from "./libc.ts";

export interface Question<Answer> {
  /** Where answers come. */
  readonly fd: number;
  readonly send: () => void;
  /** How often it is asked. */
  readonly times: number;
  /** How long an answer may take. */
  readonly every: Milliseconds;
  /** Undefined if the packet answers something else. */
  readonly read: (packet: Uint8Array) => Answer | undefined;
}

/**
 * Asks others on the network until one answers; undefined if nobody does.
 * @throws what sending throws, the first time or later: a link may go down meanwhile
 */
export async function ask<Answer>(
  { fd, send, times, every, read }: Question<Answer>,
  { signal }: Abortable,
): Promise<Answer | undefined> {
  signal.throwIfAborted();
  const { promise: answered, resolve, reject } = Promise.withResolvers<Answer | undefined>();
  const onAbort = () => resolve(undefined);
  const packet = new Uint8Array(2048);
  let timer: NodeJS.Timeout | undefined;
  let left = times;
  const next = () => {
    if (left-- === 0) return resolve(undefined);
    try {
      send();
      timer = setTimeout(next, every);
    } catch (error) {
      reject(error);
    }
  };
  const readiness = onReadable(fd, () => {
    for (let size = recv(fd, packet, MSG_DONTWAIT); size >= 0; size = recv(fd, packet, MSG_DONTWAIT)) {
      const answer = read(packet.subarray(0, size));
      if (answer !== undefined) resolve(answer);
    }
  });
  try {
    signal.addEventListener("abort", onAbort, { once: true });
    next();
    const answer = await answered;
    signal.throwIfAborted();
    return answer;
  } finally {
    signal.removeEventListener("abort", onAbort);
    clearTimeout(timer);
    readiness[Symbol.dispose]();
  }
}
