// For tests only.

import { formatPrefix, type Prefix } from "../ip/prefix.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Notes } from "../lib/notes.ts";
import type { Cloud, CloudHost, CloudRequest, CloudRoute, VpcRequest } from "./cloud.ts";
import { CloudError } from "./cloud-error.ts";
import { FormerRoutes } from "./former-routes.ts";
import type { ForwardingApi } from "./forwarding-table.ts";
import { hostTables } from "./host-tables.ts";
import { pace } from "./pace.ts";
import type { RouteApi } from "./route-api.ts";
import { sharedCloud } from "./shared-cloud.ts";

/** What undefined stands for. */
const SUBNETS_TABLE = "rtb-1";

/** A cloud's route tables in memory. */
export class FakeRouteApi implements RouteApi {
  readonly name = "cloud routes";
  /** Changing calls, in order. */
  readonly log: string[] = [];
  steps = 0;
  listings = 0;
  /** Why a kind of call fails. */
  readonly failures = new Map<"list" | "create" | "replace" | "remove", Error>();
  /** Called in the middle of a listing, so that a test can change something then. */
  afterList: () => void = () => {};
  #routes: CloudRoute[] = [];

  get routes(): readonly CloudRoute[] {
    return this.#routes;
  }

  /** Somebody else writes a route. */
  putByHand(route: CloudRoute): void {
    this.removeByHand(route.destination, route.table);
    this.#routes.push(route);
  }

  removeByHand(destination: Prefix, table?: string): void {
    this.#routes = this.#routes.filter((route) => !isOf(route, destination, table));
  }

  async list({ signal }: Abortable): Promise<readonly CloudRoute[]> {
    signal.throwIfAborted();
    this.steps++;
    this.listings++;
    this.#mayFail("list");
    const routes = [...this.#routes];
    this.afterList();
    return routes;
  }

  tableOf(table: string | undefined): string {
    return table ?? SUBNETS_TABLE;
  }

  async create(route: CloudRoute, { signal }: Abortable): Promise<void> {
    this.#called("create", route, signal);
    if (this.#has(route)) throw new CloudError("conflict", `there is a route to ${formatPrefix(route.destination)}`);
    this.#routes.push(route);
  }

  async replace(found: CloudRoute, route: CloudRoute, { signal }: Abortable): Promise<void> {
    this.#called("replace", route, signal);
    if (!this.#has(found)) throw new CloudError("gone", `there is no route to ${formatPrefix(found.destination)}`);
    this.putByHand(route);
  }

  async remove(found: CloudRoute, { signal }: Abortable): Promise<void> {
    this.#called("remove", found, signal);
    this.removeByHand(found.destination, found.table);
  }

  #has({ destination, table }: CloudRoute): boolean {
    return this.#routes.some((route) => isOf(route, destination, table));
  }

  #called(
    call: "create" | "replace" | "remove",
    { destination, target, table }: CloudRoute,
    signal: AbortSignal,
  ): void {
    signal.throwIfAborted();
    this.log.push(
      `${call} route ${formatPrefix(destination)} via ${target}${table === undefined ? "" : ` in ${table}`}`,
    );
    this.#mayFail(call);
  }

  #mayFail(call: "list" | "create" | "replace" | "remove"): void {
    const error = this.failures.get(call);
    if (error !== undefined) throw error;
  }
}

function isOf(route: CloudRoute, destination: Prefix, table: string | undefined): boolean {
  return (
    (route.table ?? SUBNETS_TABLE) === (table ?? SUBNETS_TABLE) &&
    formatPrefix(route.destination) === formatPrefix(destination)
  );
}

/** A cloud in memory, in which this host is `i-1` and routes to it name `eni-1`. */
export class FakeCloud implements Cloud, ForwardingApi {
  readonly name = "forwarding of i-1";
  readonly steps = 0;
  readonly api = new FakeRouteApi();
  ranges: readonly Prefix[] = [];
  forwards: boolean | undefined = false;

  /** As the families of one network have it. */
  shared(): Cloud {
    return sharedCloud(this);
  }

  async openVpc(request: VpcRequest): Promise<CloudHost> {
    return this.#host(request);
  }

  async openComputeEngine(request: CloudRequest): Promise<CloudHost> {
    return this.#host(request);
  }

  async isOn(): Promise<boolean | undefined> {
    return this.forwards;
  }

  async turnOn(): Promise<void> {
    this.api.log.push("turn on forwarding of i-1");
    this.forwards = true;
  }

  #host({ checkEvery, logger }: CloudRequest): CloudHost {
    const { api, ranges } = this;
    return {
      target: "eni-1",
      instance: "i-1",
      ranges,
      requireAddress() {},
      tables: hostTables({
        routes: api,
        forwarding: this,
        instance: "i-1",
        pace: pace(checkEvery, () => 0.5),
        logger,
      }),
      formerRoutes: (claim, kept) => new FormerRoutes({ claim, api }, kept && { claim: kept, api }),
    };
  }
}

/** Notes that last as long as the test. */
export function memoryNotes(): Notes {
  const notes = new Map<string, string>();
  return { get: (name) => notes.get(name), set: (name, text) => void notes.set(name, text) };
}
