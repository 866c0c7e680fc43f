import { readdirSync } from "node:fs";
import koffi from "koffi";
import { SystemCallError } from "./errno.ts";

// include/uapi/asm-generic/fcntl.h and include/uapi/linux/fcntl.h
const F_SETFD = 2;
const F_DUPFD_CLOEXEC = 1030;
const FD_CLOEXEC = 1;
const FIRST_AFTER_STANDARD = 3;

const cFcntl = koffi.load(null).func("int fcntl(int fd, int command, ...)");

/** A second descriptor of the same, closed on exec. @throws {SystemCallError} */
export function duplicate(fd: number): number {
  const copy: number = cFcntl(fd, F_DUPFD_CLOEXEC, "int", FIRST_AFTER_STANDARD);
  if (copy < 0) throw new SystemCallError("fcntl", koffi.errno());
  return copy;
}

/** Has no program that is started from now on inherit more than it is given, whatever our own parent left open for us. */
export function closeAllOnExec(): void {
  for (const name of readdirSync("/proc/self/fd"))
    if (Number(name) >= FIRST_AFTER_STANDARD) cFcntl(Number(name), F_SETFD, "int", FD_CLOEXEC);
}
