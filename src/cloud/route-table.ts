import type { Plan, RowFailure, Table } from "../dataplane/table.ts";
import { containsPrefix, equalPrefix, formatPrefix, type Prefix } from "../ip/prefix.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Milliseconds } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import type { CloudRoute, CloudScope } from "./cloud.ts";
import { CloudError, type CloudErrorKind, isCloudError } from "./cloud-error.ts";
import { eachRow } from "./each-row.ts";
import type { Pace } from "./pace.ts";
import type { RouteApi } from "./route-api.ts";

/** Failures that tell nothing of what is in the table. */
const OF_NO_ROUTE: readonly CloudErrorKind[] = ["permission", "quota", "throttled", "credentials", "unreachable"];

export interface CloudRouteTableOptions {
  readonly api: RouteApi;
  /** One for each family. */
  readonly scopes: readonly CloudScope[];
  /** Whether another host holds the subnet. */
  readonly isHeld: (subnet: Prefix) => boolean;
  readonly pace: Pace;
  readonly logger: Logger;
}

/**
 * The routes of one network that are this host's business: the one to our own subnet, others of the network's subnets that lead to us,
 * and black holes inside the Network to subnets that nobody holds.
 *
 * A route of our subnet that leads to another instance which lives is not ours to take, whatever the store says of the subnet, unless it
 * led to us before: then somebody changed it.
 */
export class CloudRouteTable implements Table<CloudRoute> {
  readonly name: string;
  readonly resyncEvery: Milliseconds;
  readonly longestRetry: Milliseconds;
  readonly #options: CloudRouteTableOptions;
  /** What the cloud has inside the Network, as of the last look and what we did since. */
  #found = new Map<string, CloudRoute>();
  /** Keys of routes to our subnet that have led to us. */
  readonly #ours = new Set<string>();
  /** Something was not as it was seen last. */
  #isStale = true;

  constructor(options: CloudRouteTableOptions) {
    this.#options = options;
    this.name = options.api.name;
    this.resyncEvery = options.pace.resyncEvery;
    this.longestRetry = options.pace.longestRetry;
  }

  get steps(): number {
    return this.#options.api.steps;
  }

  key({ table, destination }: CloudRoute): string {
    return `${table ?? ""} ${formatPrefix(destination)}`;
  }

  equal(desired: CloudRoute, actual: CloudRoute): boolean {
    return desired.target === actual.target && desired.leadsTo === actual.leadsTo;
  }

  format({ table, destination, target, leadsTo }: CloudRoute): string {
    const where = table === undefined ? "" : ` in ${table}`;
    return `${formatPrefix(destination)} via ${target}${where}${leadsTo === "nowhere" ? " (black hole)" : ""}`;
  }

  async list(options: Abortable): Promise<readonly CloudRoute[]> {
    await this.#look(options);
    return [...this.#found.values()].filter((route) => this.#isOurBusiness(route));
  }

  async apply({ puts, removals }: Plan<CloudRoute>, options: Abortable): Promise<readonly RowFailure<CloudRoute>[]> {
    options.signal.throwIfAborted();
    // The API has no "delete if": a black hole may have come to life since it was seen.
    if (this.#isStale || removals.length > 0) await this.#look(options);
    const failures = [
      ...(await eachRow(puts, (row) => this.#put(row, options), options)),
      ...(await eachRow(removals, (row) => this.#remove(row, options), options)),
    ];
    this.#isStale ||= failures.some(({ error }) => !isCloudError(error, ...OF_NO_ROUTE));
    return failures;
  }

  async #look(options: Abortable): Promise<void> {
    const { api, scopes } = this.#options;
    const routes = await api.list(options);
    const inside = routes.filter(({ destination }) =>
      scopes.some(({ network }) => containsPrefix(network, destination)),
    );
    this.#found = new Map(inside.map((route) => [this.key(route), route]));
    this.#isStale = false;
    for (const [key, route] of this.#found) if (route.leadsTo === "self" && this.#isOwn(route)) this.#ours.add(key);
  }

  /** Whether it is to a subnet of this host's. */
  #isOwn({ destination }: CloudRoute): boolean {
    return this.#options.scopes.some(({ subnet }) => equalPrefix(destination, subnet));
  }

  /** Whether a host of this network could hold it. */
  #isSubnet(prefix: Prefix): boolean {
    return this.#options.scopes.some((scope) => containsPrefix(scope.network, prefix) && scope.isSubnet(prefix));
  }

  #isOurBusiness(route: CloudRoute): boolean {
    const { destination, leadsTo } = route;
    if (this.#isOwn(route)) return leadsTo !== "instance" || this.#ours.has(this.key(route));
    if (leadsTo === "self") return this.#isSubnet(destination);
    return leadsTo === "nowhere" && !this.#options.isHeld(destination);
  }

  async #put(route: CloudRoute, options: Abortable): Promise<void> {
    const { api, logger } = this.#options;
    const key = this.key(route);
    const seen = this.#found.get(key);
    if (seen !== undefined && this.equal(route, seen)) await this.#look(options); // is it not, any more?
    const there = this.#found.get(key);
    if (there === undefined) {
      await api.create(route, options);
      logger.info("route created", { route: this.format(route) });
    } else if (!this.equal(route, there)) {
      if (!this.#isOurBusiness(there))
        throw new CloudError(
          "taken",
          `${formatPrefix(there.destination)} leads to ${there.target}, another instance that is running, and is not taken from it; if that one should not have it, delete the route`,
        );
      await api.replace(there, route, options);
      logger.info("route replaced", { route: this.format(route), before: this.format(there) });
    }
    this.#found.set(key, route);
    this.#ours.add(key);
  }

  async #remove(route: CloudRoute, options: Abortable): Promise<void> {
    const { api, logger } = this.#options;
    const key = this.key(route);
    const there = this.#found.get(key);
    const isWanted = there !== undefined && this.#isOurBusiness(there) && there.leadsTo === route.leadsTo;
    if (!isWanted || (route.leadsTo !== "nowhere" && !this.#isSubnet(route.destination))) return;
    await api.remove(there, options);
    this.#found.delete(key);
    logger.info(route.leadsTo === "nowhere" ? "black hole removed" : "route removed", { route: this.format(there) });
  }
}
