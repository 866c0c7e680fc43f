import { constants } from "node:os";

const NAMES = new Map<number, string>();
for (const [name, value] of Object.entries(constants.errno)) if (!NAMES.has(value)) NAMES.set(value, name);
NAMES.set(constants.errno.EAGAIN, "EAGAIN");
NAMES.set(constants.errno.EOPNOTSUPP, "EOPNOTSUPP");

/** What a TUN descriptor says whose device has been deleted. Node does not know it. include/uapi/asm-generic/errno.h */
export const EBADFD = 77;
NAMES.set(EBADFD, "EBADFD");

/** The number as errno.h names it: 101 is `ENETUNREACH`. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}

export const {
  EACCES,
  EAGAIN,
  EBUSY,
  EEXIST,
  EHOSTUNREACH,
  EINTR,
  EINVAL,
  EMSGSIZE,
  EIO,
  ENETUNREACH,
  ENOBUFS,
  ENODEV,
  ENOENT,
  ENOMEM,
  ENXIO,
  EOPNOTSUPP,
  ESRCH,
  EPERM,
  EADDRINUSE,
  EADDRNOTAVAIL,
} = constants.errno;

/** A system call that failed. */
export class SystemCallError extends Error {
  override readonly name = "SystemCallError";
  /** `EPERM` */
  readonly code: string;
  readonly errno: number;

  /** @param meaning what it says about this call, for people */
  constructor(call: string, errno: number, meaning?: string) {
    super(`${call}: ${errnoName(errno)}${meaning === undefined ? "" : ` (${meaning})`}`);
    this.code = errnoName(errno);
    this.errno = errno;
  }
}
