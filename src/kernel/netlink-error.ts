import { errnoName } from "./errno.ts";

/** The kernel refused a request: `add route 10.1.15.0/24 via 192.168.0.7 dev eth0: ENETUNREACH (Nexthop has invalid gateway)`. */
export class NetlinkError extends Error {
  override readonly name = "NetlinkError";
  readonly code = "netlink";
  /** `ENETUNREACH` */
  readonly errnoName: string;
  readonly errno: number;
  /** What was asked, as a person would write it. */
  readonly request: string;
  /** The kernel's own words about it, or ours. */
  readonly reason: string | undefined;

  constructor(request: string, errno: number, reason?: string) {
    super(`${request}: ${errnoName(errno)}${reason === undefined || reason === "" ? "" : ` (${reason})`}`);
    this.errnoName = errnoName(errno);
    this.errno = errno;
    this.request = request;
    this.reason = reason;
  }
}
