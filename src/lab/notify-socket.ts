import { rmSync } from "node:fs";
import {
  AF_UNIX,
  bind,
  close,
  MSG_DONTWAIT,
  onReadable,
  type Readiness,
  recv,
  SOCK_DGRAM,
  socket,
} from "../kernel/libc.ts";
import type { Abortable } from "../lib/abortable.ts";
import { orAbort } from "../lib/or-abort.ts";

/** `struct sockaddr_un` has 108 bytes of path, with its zero. unix(7). */
const LONGEST_PATH = 107;

/** The service manager's end of sd_notify(3): a program that is given this path as NOTIFY_SOCKET tells when it is ready. */
export class NotifySocket implements Disposable {
  readonly path: string;
  readonly #fd: number;
  readonly #readiness: Readiness;
  readonly #ready = Promise.withResolvers<number>();
  #isClosed = false;

  /** A socket that an earlier run left at `path` is replaced. */
  constructor(path: string) {
    const name = Buffer.from(path);
    if (name.length > LONGEST_PATH) throw new RangeError(`too long for the address of a socket: ${path}`);
    this.path = path;
    rmSync(path, { force: true });
    this.#fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    const address = Buffer.alloc(2 + name.length + 1);
    address.writeUInt16LE(AF_UNIX);
    name.copy(address, 2);
    try {
      bind(this.#fd, address);
    } catch (error) {
      close(this.#fd);
      throw error;
    }
    this.#readiness = onReadable(this.#fd, () => this.#read());
  }

  #read(): void {
    const buffer = Buffer.alloc(4096);
    while (!this.#isClosed) {
      const length = recv(this.#fd, buffer, MSG_DONTWAIT);
      if (length < 0) return;
      if (buffer.toString("utf8", 0, length).split("\n").includes("READY=1")) this.#ready.resolve(performance.now());
    }
  }

  /** Resolves with the moment, by `performance.now()`, at which READY=1 came; at once if it has come already. */
  ready({ signal }: Abortable): Promise<number> {
    return orAbort(this.#ready.promise, signal);
  }

  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#readiness[Symbol.dispose]();
    close(this.#fd);
    rmSync(this.path, { force: true });
  }
}
