import type { Place } from "../../src/lab/place.ts";

type Row = { readonly [key: string]: unknown };

/** `ip -j …` somewhere: what the kernel has, by a program that is not ours. */
export async function ipJson(place: Place, ...args: readonly string[]): Promise<readonly Row[]> {
  return parseRows(await place.run(["ip", "-j", ...args]));
}

/** `bridge -j fdb show dev LINK` somewhere. */
export async function fdbJson(place: Place, link: string): Promise<readonly Row[]> {
  return parseRows(await place.run(["bridge", "-j", "fdb", "show", "dev", link]));
}

function parseRows(text: string): readonly Row[] {
  return text.trim() === "" ? [] : (JSON.parse(text) as readonly Row[]);
}
