import type { Place } from "../../src/lab/place.ts";

/** What the kernel of a place has counted: a line of /proc/net/snmp, `Tcp` and `InCsumErrors`. */
export async function counted(place: Pick<Place, "run">, protocol: string, field: string): Promise<number> {
  const text = await place.run(["cat", "/proc/net/snmp"]);
  const [names, values] = text
    .split("\n")
    .filter((line) => line.startsWith(`${protocol}: `))
    .map((line) => line.split(" "));
  const value = values?.[names?.indexOf(field) ?? -1];
  if (value === undefined) throw new Error(`no ${protocol} ${field} in /proc/net/snmp`);
  return Number(value);
}
