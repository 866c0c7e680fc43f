import { describeError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";

/** Sends one datagram, perhaps with descriptors, to a Unix socket; the kernel room's. */
export type SendDatagram = (path: string, bytes: Uint8Array, descriptors?: readonly number[]) => void;

/** Characters of a status. It is one line of `systemctl status`. */
const LONGEST_STATUS = 1_000;

export interface ServiceManagerOptions {
  /** `$NOTIFY_SOCKET`; nobody is told anything without. */
  readonly socket: string | undefined;
  readonly send: SendDatagram;
  readonly logger: Logger;
}

/** What we tell the service manager, if there is one. sd_notify(3). Nothing here throws: it is told in the log, once for each reason. */
export class ServiceManager {
  readonly #options: ServiceManagerOptions;
  readonly #complaints = new Set<string>();
  #status = "";
  /** It had no room for READY=1. */
  #owesReady = false;
  #isStopping = false;

  constructor(options: ServiceManagerOptions) {
    this.#options = options;
  }

  /** Whether there is one. */
  get isThere(): boolean {
    return (this.#options.socket ?? "") !== "";
  }

  /** What we are there for is done: who depends on it may begin. May be told again. */
  ready(): void {
    this.#owesReady = !this.#tell("READY=1");
  }

  /**
   * What we are doing, for a person. What was told last is not told again, and nothing once we are stopping. A manager that is too busy to
   * take it gets it with the next call, and READY=1 before it if that had no room either.
   */
  status(text: string): void {
    const line = text.replaceAll(/\s+/g, " ").trim();
    const status = line.length > LONGEST_STATUS ? `${line.slice(0, LONGEST_STATUS - 1)}…` : line;
    if (this.#isStopping) return;
    if (this.#owesReady) this.ready();
    if (status !== this.#status && this.#tell(`STATUS=${status}`)) this.#status = status;
  }

  /** We are well; to be told at least as often as it asked for. */
  alive(): void {
    this.#tell("WATCHDOG=1");
  }

  /** We were asked to end, and are about to. */
  stopping(): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#tell("STOPPING=1\nSTATUS=Stopping.");
  }

  /** @returns whether it need not be told again: it was, or cannot be */
  #tell(message: string): boolean {
    const { socket, send, logger } = this.#options;
    if (socket === undefined || socket === "") return true;
    try {
      send(socket, new TextEncoder().encode(message));
    } catch (error) {
      if (isBusy(error)) return false;
      const reason = describeError(error);
      if (!this.#complaints.has(reason)) logger.warn("cannot tell the service manager how we are", { reason });
      this.#complaints.add(reason);
    }
    return true;
  }
}

/** Whether the manager's queue is full, which has room for ten messages by default (net.unix.max_dgram_qlen). */
function isBusy(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EAGAIN";
}
