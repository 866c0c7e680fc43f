import { TrieRouter } from "hono/router/trie-router";
import type { LeaseApi } from "./lease-api.ts";
import type { NetworkApi } from "./network-api.ts";
import type { Parked, Reply } from "./reply.ts";
import type { ApiRequest } from "./request.ts";
import type { ReservationApi } from "./reservation-api.ts";
import type { WatchApi } from "./watch-api.ts";

export type Handler = (request: ApiRequest) => Promise<Reply | Parked>;

export interface Match {
  readonly handler: Handler;
  readonly params: Readonly<Record<string, string>>;
}

/** Finds what a method and a path ask for; undefined for anything that 0.7.0 does not know either. */
export type FindRoute = (method: string, path: string) => Match | undefined;

export interface Apis {
  readonly leases: LeaseApi;
  readonly watches: WatchApi;
  readonly reservations: ReservationApi;
  readonly networks: NetworkApi;
}

export function routes({ leases, watches, reservations, networks }: Apis): FindRoute {
  const router = new TrieRouter<Handler>();
  const add = (method: string, path: string, handler: Handler) => router.add(method, `/v1${path}`, handler);
  add("GET", "/:network/config", (request) => leases.getConfig(request));
  add("POST", "/:network/leases", (request) => leases.acquireLease(request));
  add("GET", "/:network/leases", (request) => watches.watchLeases(request));
  add("GET", "/:network/leases/:subnet", (request) => watches.watchLease(request));
  add("PUT", "/:network/leases/:subnet", (request) => leases.putLease(request));
  add("DELETE", "/:network/leases/:subnet", (request) => leases.deleteLease(request));
  add("GET", "/:network/reservations", (request) => reservations.listReservations(request));
  add("POST", "/:network/reservations", (request) => reservations.addReservation(request));
  add("DELETE", "/:network/reservations/:subnet", (request) => reservations.removeReservation(request));
  const found = new Map<string, Match>(); // thousands of clients ask for a handful of paths
  return (method, path) => {
    const key = `${method} ${path}`;
    const known = found.get(key);
    if (known !== undefined) return known;
    const match = find(method, path);
    if (match === undefined) return undefined;
    if (found.size >= MOST_REMEMBERED) found.clear();
    found.set(key, match);
    return match;
  };

  function find(method: string, path: string): Match | undefined {
    if (path === "/v1/")
      return method === "GET" ? { handler: (request) => networks.watch(request), params: {} } : undefined;
    if (path.endsWith("/")) return undefined;
    const [[handler, params] = []] = router.match(method, path)[0] as readonly [Handler, Record<string, string>][];
    if (handler === undefined || params === undefined) return undefined;
    const decoded = Object.fromEntries(Object.entries(params).map(([name, value]) => [name, decode(value)]));
    return { handler, params: decoded };
  }
}

const MOST_REMEMBERED = 10_000;

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
