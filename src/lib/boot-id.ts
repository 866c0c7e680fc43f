import { readFileSync } from "node:fs";

/** Names this boot of this machine, random(4): what was true of the kernel in another one need not be so any more. */
export function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}
