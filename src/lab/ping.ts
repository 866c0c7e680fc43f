import type { Abortable } from "../lib/abortable.ts";
import type { Milliseconds } from "../lib/clock.ts";
import type { Namespace } from "./namespace.ts";

/** A place that pings and can be pinged. */
export interface Endpoint {
  readonly title: string;
  readonly address: string;
  /** Besides an IPv4 one. */
  readonly ipv6?: string | undefined;
  readonly namespace: Pick<Namespace, "exec">;
}

export interface PingOptions extends Abortable {
  /** How long to wait for an answer, 1 s. */
  readonly timeout?: Milliseconds;
  /** Bytes of the whole packet, which then may not be fragmented; 84 that may, if left out. */
  readonly size?: number;
  /** Packets per pair; answered if any is. */
  readonly count?: number;
}

/** One cell of the matrix. */
export interface PingResult {
  readonly from: string;
  readonly to: string;
  /** The address that was pinged. */
  readonly address: string;
  /** Round-trip time of the last answer; undefined without one. */
  readonly time: Milliseconds | undefined;
  /** What ping said, if there was no answer. */
  readonly reason?: string;
}

interface Pair {
  readonly from: Endpoint;
  readonly to: Endpoint;
  readonly address: string;
}

/** How many pings are under way at once: more would only measure the queue of a small machine. */
const AT_ONCE = 8;

/** The IP header and ICMP's. */
const headersTo = (address: string) => (address.includes(":") ? 48 : 28);

/** Pings each from each other, both directions, in the order of `endpoints`; by IPv6 too between those that have both. */
export async function pingAll(endpoints: readonly Endpoint[], options: PingOptions): Promise<readonly PingResult[]> {
  const pairsBy = (addressOf: (endpoint: Endpoint) => string | undefined) => {
    const able = endpoints.flatMap((endpoint) => {
      const address = addressOf(endpoint);
      return address === undefined ? [] : [{ endpoint, address }];
    });
    return able.flatMap(({ endpoint: from }) =>
      able.flatMap(({ endpoint: to, address }) => (to === from ? [] : [{ from, to, address }])),
    );
  };
  const pairs = [...pairsBy(({ address }) => address), ...pairsBy(({ ipv6 }) => ipv6)];
  const results = Array<PingResult>(pairs.length);
  const queue = pairs.entries();
  const worker = async () => {
    for (const [index, pair] of queue) results[index] = await ping(pair, options);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return results;
}

async function ping({ from, to, address }: Pair, options: PingOptions): Promise<PingResult> {
  const { timeout = 1000, size, count = 1, signal } = options;
  const whole = size === undefined ? [] : ["-M", "do", "-s", String(size - headersTo(address))];
  const argv = ["ping", "-n", "-c", String(count), "-i", "0.2", "-W", String(timeout / 1000), ...whole, address];
  const result = await from.namespace.exec(argv, { signal });
  const times = [...result.stdout.matchAll(/ time=([\d.]+) ms/g)];
  const time = times.at(-1)?.[1];
  const pinged = { from: from.title, to: to.title, address };
  if (time !== undefined) return { ...pinged, time: Number(time) };
  return { ...pinged, time: undefined, reason: reasonOf(`${result.stdout}\n${result.stderr}`) };
}

/** The telling line of what an unanswered ping printed. */
export function reasonOf(output: string): string {
  const said = /^(?:From (\S+) icmp_seq=\d+ |ping: )(.+)$/m.exec(output);
  return said === null ? "no answer" : said[1] === undefined ? (said[2] ?? "") : `${said[2]}, says ${said[1]}`;
}
