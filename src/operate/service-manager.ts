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
    this.#tell("READY=1");
  }

  /** What we are doing, for a person. What was told last is not told again, and nothing once we are stopping. */
  status(text: string): void {
    const line = text.replaceAll(/\s+/g, " ").trim();
    const status = line.length > LONGEST_STATUS ? `${line.slice(0, LONGEST_STATUS - 1)}…` : line;
    if (status === this.#status || this.#isStopping) return;
    this.#status = status;
    this.#tell(`STATUS=${status}`);
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

  #tell(message: string): void {
    const { socket, send, logger } = this.#options;
    if (socket === undefined || socket === "") return;
    try {
      send(socket, new TextEncoder().encode(message));
    } catch (error) {
      const reason = describeError(error);
      if (!this.#complaints.has(reason)) logger.warn("cannot tell the service manager how we are", { reason });
      this.#complaints.add(reason);
    }
  }
}
