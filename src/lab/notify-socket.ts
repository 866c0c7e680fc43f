import { rmSync } from "node:fs";
import koffi from "koffi";
import type { Abortable } from "../lib/abortable.ts";
import { orAbort } from "./wait.ts";

const libc = koffi.load(null);
const socket = libc.func("int socket(int domain, int type, int protocol)");
const bind = libc.func("int bind(int fd, const uint8_t *address, uint32_t length)");
const receive = libc.func("recv", "int64_t", ["int", "_Out_ uint8_t *", "size_t", "int"]);
const close = libc.func("int close(int fd)");

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;

/** sockaddr_un: two bytes of family, 108 of path with its zero. unix(7). */
const LONGEST_PATH = 107;

/** The service manager's end of sd_notify(3): a program that is given this path as NOTIFY_SOCKET tells when it is ready. */
export class NotifySocket implements Disposable {
  readonly path: string;
  readonly #fd: number;
  readonly #poll: ReturnType<typeof koffi.node.poll>;
  readonly #ready = Promise.withResolvers<number>();
  #closed = false;

  /** A socket that an earlier run left at `path` is replaced. */
  constructor(path: string) {
    if (Buffer.byteLength(path) > LONGEST_PATH) throw new Error(`too long for a socket: ${path}`);
    this.path = path;
    rmSync(path, { force: true });
    this.#fd = Number(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (this.#fd < 0) throw new Error(`open a socket for ${path}: errno ${koffi.errno()}`);
    const address = Buffer.alloc(2 + LONGEST_PATH + 1);
    address.writeUInt16LE(AF_UNIX);
    address.write(path, 2);
    if (bind(this.#fd, address, 2 + Buffer.byteLength(path) + 1) !== 0) {
      const errno = koffi.errno();
      close(this.#fd);
      throw new Error(`bind ${path}: errno ${errno}`);
    }
    // Not read in the callback itself: promises settled there wait until something else wakes the event loop.
    this.#poll = koffi.node.poll(this.#fd, { readable: true }, () => setImmediate(() => this.#read()));
    this.#poll.unref();
  }

  #read(): void {
    const buffer = Buffer.alloc(4096);
    while (!this.#closed) {
      const length = Number(receive(this.#fd, buffer, buffer.length, 0));
      if (length < 0) return;
      if (buffer.toString("utf8", 0, length).split("\n").includes("READY=1")) this.#ready.resolve(performance.now());
    }
  }

  /** Resolves with the moment, by `performance.now()`, at which READY=1 came; at once if it has come already. */
  ready({ signal }: Abortable): Promise<number> {
    return orAbort(this.#ready.promise, signal);
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#poll.close();
    close(this.#fd);
    rmSync(this.path, { force: true });
  }
}
