import { statSync } from "node:fs";
import koffi from "koffi";
import type { Abortable } from "../lib/abortable.ts";
import { EINVAL, ENOENT, ESRCH, SystemCallError } from "./errno.ts";
import { close, onReadable } from "./libc.ts";
import { type ProcessId, processStat } from "./process-id.ts";

// By number, since a libc may be older than these calls; the numbers are the same on every machine. include/uapi/asm-generic/unistd.h.
const SYS_PIDFD_SEND_SIGNAL = 424;
const SYS_PIDFD_OPEN = 434;
const SYS_PIDFD_GETFD = 438;

const libc = koffi.load(null);
const cPidfdOpen = libc.func("syscall", "long", ["long", "int", "uint"]);
const cPidfdGetfd = libc.func("syscall", "long", ["long", "int", "int", "uint"]);
const cPidfdSendSignal = libc.func("syscall", "long", ["long", "int", "int", "void *", "uint"]);

const SIGKILL = 9;

/** Another process, by a pidfd, so that never one is meant that was given its pid later. */
export class Pidfd implements Disposable {
  readonly #fd: number;
  /** Whether it runs as the user that we run as. */
  readonly isOurs: boolean;

  /**
   * @returns undefined if it has ended and nobody will ask for its exit status any more
   * @throws {SystemCallError} if the kernel does not have this, or does not allow it
   */
  static open({ pid, startTime }: ProcessId): Pidfd | undefined {
    const fd: number = cPidfdOpen(SYS_PIDFD_OPEN, pid, 0);
    if (fd < 0) {
      const errno = koffi.errno();
      // EINVAL: not a pid; ENOENT: a thread of another process.
      if (errno === ESRCH || errno === EINVAL || errno === ENOENT) return undefined;
      throw new SystemCallError("pidfd_open", errno);
    }
    if (processStat(pid)?.startTime === startTime) return new Pidfd(fd, userOf(pid) === process.geteuid?.());
    close(fd);
    return undefined;
  }

  private constructor(fd: number, isOurs: boolean) {
    this.#fd = fd;
    this.isOurs = isOurs;
  }

  /**
   * One of its descriptors as one of ours, which is closed on exec. pidfd_getfd(2).
   * @throws {SystemCallError} EBADF if it has none of this number, ESRCH if it has ended, EPERM if we might not trace it
   */
  descriptor(number: number): number {
    const fd: number = cPidfdGetfd(SYS_PIDFD_GETFD, this.#fd, number, 0);
    if (fd < 0) throw new SystemCallError("pidfd_getfd", koffi.errno());
    return fd;
  }

  /** Ends it. Nothing happens if it has ended. */
  kill(): void {
    const result: number = cPidfdSendSignal(SYS_PIDFD_SEND_SIGNAL, this.#fd, SIGKILL, null, 0);
    if (result < 0 && koffi.errno() !== ESRCH) throw new SystemCallError("pidfd_send_signal", koffi.errno());
  }

  /** Resolves when all its threads have ended, and so its descriptors are closed. Rejects with `signal.reason`. */
  async ended({ signal }: Abortable): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    using _readiness = onReadable(this.#fd, resolve);
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  [Symbol.dispose](): void {
    close(this.#fd);
  }
}

function userOf(pid: number): number | undefined {
  return statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid;
}
