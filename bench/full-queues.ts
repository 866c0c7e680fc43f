import { readFile } from "node:fs/promises";
import type { Place } from "../src/lab/place.ts";
import { counted } from "../test/udp/snmp.ts";

/**
 * Packets that the kernel has dropped so far because a queue was full: on the way out of any link (a TUN device that is not read fast
 * enough, a veth), at sockets, and before the protocols on any processor of this machine.
 */
export async function droppedByFullQueues(places: readonly Place[]): Promise<number> {
  const counts = await Promise.all([
    ...places.flatMap((place) => [droppedByLinks(place), counted(place, "Udp", "RcvbufErrors")]),
    droppedByProcessors(),
  ]);
  return counts.reduce((sum, count) => sum + count, 0);
}

async function droppedByLinks(place: Place): Promise<number> {
  const links = JSON.parse(await place.run(["ip", "-s", "-j", "link"])) as readonly {
    readonly stats64?: { readonly tx: { readonly dropped: number } };
  }[];
  return links.reduce((sum, { stats64 }) => sum + (stats64?.tx.dropped ?? 0), 0);
}

/** The second column: packets that found a processor's backlog full (net/core/net-procfs.c). */
async function droppedByProcessors(): Promise<number> {
  const text = await readFile("/proc/net/softnet_stat", "utf8");
  const lines = text.trimEnd().split("\n");
  return lines.reduce((sum, line) => sum + Number.parseInt(line.split(/\s+/)[1] ?? "0", 16), 0);
}
