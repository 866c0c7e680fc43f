import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Daemons of any flannel in this network namespace, by the name of their program, which is cut to 15 bytes: proc_pid_comm(5). */
export function runningDaemons(): readonly number[] {
  const here = readlinkSync("/proc/self/ns/net");
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => isDaemon(pid) && namespaceOf(pid) === here)
    .map(Number);
}

/** A server of leases (`--listen`) has nothing in the kernel. */
function isDaemon(pid: string): boolean {
  try {
    if (readFileSync(`/proc/${pid}/comm`, "utf8") !== "flanneld\n") return false;
    return !/^--?listen(=|$)/m.test(readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", "\n"));
  } catch {
    return false; // ended meanwhile
  }
}

function namespaceOf(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}
