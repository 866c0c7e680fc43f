import type { Plan, RowFailure, Table } from "../dataplane/table.ts";
import { equalPrefix, formatPrefix } from "../ip/prefix.ts";
import type { Abortable } from "../lib/abortable.ts";
import { type CloudRoute, type RouteClaim, tablesOf } from "./cloud.ts";
import { eachRow } from "./each-row.ts";
import type { RouteApi } from "./route-api.ts";

/** A claim, and the route tables that it is about. */
export interface ClaimedRoutes {
  readonly claim: RouteClaim;
  readonly api: RouteApi;
}

/**
 * What is left of a claim that this host has given up: routes to its subnets that lead to this instance, and to nobody else. They can only
 * be removed. What is claimed now is not among them, however its tables are called: by their ids, or as the one of the instance's subnet.
 */
export class FormerRoutes implements Table<CloudRoute> {
  readonly name: string;
  readonly #former: ClaimedRoutes;
  readonly #kept: ClaimedRoutes | undefined;

  /** @param kept what this host claims now, in the same cloud */
  constructor(former: ClaimedRoutes, kept: ClaimedRoutes | undefined) {
    this.#former = former;
    this.#kept = kept;
    this.name = `former ${former.api.name}`;
  }

  get steps(): number {
    return this.#former.api.steps + (this.#kept?.api.steps ?? 0);
  }

  key({ table, destination }: CloudRoute): string {
    return `${table ?? ""} ${formatPrefix(destination)}`;
  }

  equal(desired: CloudRoute, actual: CloudRoute): boolean {
    return desired.target === actual.target;
  }

  format({ table, destination, target }: CloudRoute): string {
    return `${formatPrefix(destination)} via ${target}${table === undefined ? "" : ` in ${table}`}`;
  }

  async list(options: Abortable): Promise<readonly CloudRoute[]> {
    const { api, claim } = this.#former;
    const ours = (await api.list(options))
      .filter(({ leadsTo, destination }) => leadsTo === "self" && claims(claim, destination))
      .map((route) => ({ ...route, table: api.tableOf(route.table) }));
    const kept = await this.#keptKeys(ours, options);
    return ours.filter((route) => !kept.has(this.key(route)));
  }

  async apply({ removals }: Plan<CloudRoute>, options: Abortable): Promise<readonly RowFailure<CloudRoute>[]> {
    if (removals.length === 0) return [];
    const there = new Map((await this.list(options)).map((route) => [this.key(route), route]));
    const remove = async (row: CloudRoute) => {
      const found = there.get(this.key(row));
      if (found !== undefined) await this.#former.api.remove(found, options);
    };
    return await eachRow(removals, remove, options);
  }

  async #keptKeys(found: readonly CloudRoute[], options: Abortable): Promise<ReadonlySet<string>> {
    if (this.#kept === undefined) return new Set();
    const { api, claim } = this.#kept;
    const shared = found.filter(({ destination }) => claims(claim, destination));
    if (shared.length === 0) return new Set();
    await api.list(options); // finds out which table the subnet's is
    const tables = tablesOf(claim).map((table) => api.tableOf(table));
    return new Set(tables.flatMap((table) => shared.map((route) => this.key({ ...route, table }))));
  }
}

function claims({ subnets }: RouteClaim, destination: CloudRoute["destination"]): boolean {
  return subnets.some((subnet) => equalPrefix(subnet, destination));
}
