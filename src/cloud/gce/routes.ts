import * as v from "valibot";
import { formatPrefix, type Prefix, parsePrefix } from "../../ip/prefix.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { CloudRoute, LeadsTo } from "../cloud.ts";
import { CloudError, isCloudError } from "../cloud-error.ts";
import type { RouteApi } from "../route-api.ts";
import type { ComputeApi } from "./client.ts";
import type { GceInstance } from "./metadata.ts";

/** As 0.7.0 makes them. */
const PRIORITY = 1000;
const PREFIX = "flannel-";

/** "REST Resource: routes", Compute Engine API v1. */
const Route = v.object({
  name: v.string(),
  destRange: v.string(),
  network: v.string(),
  priority: v.optional(v.number()),
  tags: v.optional(v.array(v.string()), []),
  nextHopInstance: v.optional(v.string()),
  warnings: v.optional(v.array(v.object({ code: v.optional(v.string()) })), []),
});
const Page = v.object({ items: v.optional(v.array(v.unknown()), []), nextPageToken: v.optional(v.string()) });

/** What Compute Engine says of a route that delivers to nobody. */
const DEAD: ReadonlySet<string | undefined> = new Set([
  "NEXT_HOP_INSTANCE_NOT_FOUND",
  "NEXT_HOP_INSTANCE_NOT_ON_NETWORK",
  "NEXT_HOP_NOT_RUNNING",
]);

/** Routes of a network that flannels made, each named after its subnet. */
export class GceRoutes implements RouteApi {
  readonly name: string;
  readonly #api: ComputeApi;
  readonly #self: GceInstance;

  constructor(api: ComputeApi, self: GceInstance) {
    this.#api = api;
    this.#self = self;
    this.name = `routes of ${self.network}`;
  }

  get steps(): number {
    return this.#api.steps;
  }

  async list(options: Abortable): Promise<readonly CloudRoute[]> {
    const routes: CloudRoute[] = [];
    let pageToken: string | undefined;
    do {
      const query = { filter: `name eq ${PREFIX}.*`, maxResults: "500", ...(pageToken !== undefined && { pageToken }) };
      const call = { method: "GET", path: "global/routes", query, permission: "compute.routes.list" } as const;
      const page = v.safeParse(Page, await this.#api.call(call, options));
      if (!page.success) throw new CloudError("other", "compute.routes.list: the answer is no list of routes");
      routes.push(...page.output.items.flatMap((item) => this.#read(item)));
      pageToken = page.output.nextPageToken;
    } while (pageToken !== undefined && pageToken !== "");
    return routes;
  }

  /** There is only one. */
  tableOf(): undefined {
    return undefined;
  }

  async create({ destination }: CloudRoute, options: Abortable): Promise<void> {
    const name = routeName(destination);
    const body = {
      name,
      destRange: formatPrefix(destination),
      network: urlOf(this.#self.network),
      nextHopInstance: urlOf(this.#self.path),
      priority: PRIORITY,
      tags: [],
    };
    try {
      await this.#api.change(
        { method: "POST", path: "global/routes", body, permission: "compute.routes.create" },
        options,
      );
    } catch (error) {
      if (!isCloudError(error, "conflict")) throw error;
      throw new CloudError(
        "conflict",
        `there is a route ${name} already, which may be another network's: in a project each name is there once`,
      );
    }
  }

  /** The API can change no route. */
  async replace(found: CloudRoute, route: CloudRoute, options: Abortable): Promise<void> {
    await this.remove(found, options);
    await this.create(route, options);
  }

  async remove({ destination }: CloudRoute, options: Abortable): Promise<void> {
    const path = `global/routes/${routeName(destination)}`;
    try {
      await this.#api.change({ method: "DELETE", path, permission: "compute.routes.delete" }, options);
    } catch (error) {
      if (!isCloudError(error, "gone")) throw error;
    }
  }

  /** Undefined for what is another network's, or only looks as if a flannel had made it. */
  #read(item: unknown): readonly CloudRoute[] {
    const parsed = v.safeParse(Route, item);
    if (!parsed.success || pathOf(parsed.output.network) !== this.#self.network) return [];
    const destination = prefixOf(parsed.output.destRange);
    if (destination === undefined || parsed.output.name !== routeName(destination)) return [];
    const target = pathOf(parsed.output.nextHopInstance ?? "something that is no instance");
    return [{ table: undefined, destination, target, leadsTo: this.#leadsTo(parsed.output, target) }];
  }

  #leadsTo({ nextHopInstance, priority, tags, warnings }: v.InferOutput<typeof Route>, target: string): LeadsTo {
    if (target === this.#self.path) return priority === PRIORITY && tags.length === 0 ? "self" : "elsewhere";
    if (nextHopInstance === undefined) return "elsewhere";
    return warnings.some(({ code }) => DEAD.has(code)) ? "nowhere" : "instance";
  }
}

/** `flannel-10-3-4-0-24` for 10.3.4.0/24; `flannel-fd00-3-4---64` for fd00:3:4::/64. */
export function routeName(destination: Prefix): string {
  return `${PREFIX}${formatPrefix(destination).replaceAll(/[./:]/g, "-")}`;
}

function urlOf(path: string): string {
  return `https://www.googleapis.com/compute/v1/${path}`;
}

/** Servers name themselves in different ways, and projects and what is in them always in the same. */
function pathOf(url: string): string {
  return /projects\/.*$/.exec(url)?.[0] ?? url;
}

function prefixOf(text: string): Prefix | undefined {
  try {
    return parsePrefix(text);
  } catch {
    return undefined;
  }
}
