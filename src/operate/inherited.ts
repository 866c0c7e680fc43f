import { fstatSync } from "node:fs";

/** The first descriptor that a service manager passes; those before are the standard ones. sd_listen_fds(3). */
const FIRST = 3;
/** systemd's own limit for its store is less. */
const MOST = 1024;
/** What systemd calls those without a name. */
const NO_NAME = "unknown";
/** 10, 200: /dev/net/tun. Documentation/admin-guide/devices.txt */
const TUN_DEVICE = (10 << 8) | 200;

const VARIABLES = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"] as const;

/** A descriptor that the service manager passed to us: a socket that it listens on, or what it kept for us. */
export interface InheritedDescriptor {
  readonly fd: number;
  /** `unknown` if it has none. */
  readonly name: string;
}

export interface Inherited {
  readonly descriptors: readonly InheritedDescriptor[];
  /** What makes no sense. */
  readonly complaints: readonly string[];
}

/**
 * What the service manager passed to this process, by `LISTEN_FDS` and its kin; these variables are removed, since they are not
 * for programs that we start. To be called once, before anything else is opened: else a number that is too high means that.
 */
export function takeInherited(
  env: Record<string, string | undefined>,
  pid: number,
  isPassed: (fd: number) => boolean = isSocketOrTun,
): Inherited {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = env;
  for (const name of VARIABLES) delete env[name];
  if (LISTEN_FDS === undefined || LISTEN_PID !== String(pid)) return { descriptors: [], complaints: [] };
  if (!/^\d{1,4}$/.test(LISTEN_FDS) || Number(LISTEN_FDS) > MOST)
    return { descriptors: [], complaints: [`LISTEN_FDS is ${JSON.stringify(LISTEN_FDS)}, but must be 0 to ${MOST}`] };
  const names = LISTEN_FDNAMES?.split(":") ?? [];
  const all = Array.from({ length: Number(LISTEN_FDS) }, (_, index) => ({
    fd: FIRST + index,
    name: names[index] || NO_NAME,
  }));
  const descriptors = all.filter(({ fd }) => isPassed(fd));
  const missing = all.length - descriptors.length;
  return {
    descriptors,
    complaints: missing === 0 ? [] : [`LISTEN_FDS is ${LISTEN_FDS}, but ${missing} of these are no sockets`],
  };
}

/** Node has opened some of its own already, but neither of these. */
function isSocketOrTun(fd: number): boolean {
  try {
    const stats = fstatSync(fd);
    return stats.isSocket() || (stats.isCharacterDevice() && stats.rdev === TUN_DEVICE);
  } catch {
    return false;
  }
}
