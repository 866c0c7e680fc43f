import type { Abortable } from "../lib/abortable.ts";
import type { CloudRoute } from "./cloud.ts";

/** What a cloud must do for its routes to be a table. All throw {@link CloudError}, or `signal.reason`. */
export interface RouteApi {
  /** For logs: `routes of vpc-0a1b2c3d`. */
  readonly name: string;
  /** Grows with every request that is sent. */
  readonly steps: number;
  /** Every route that people or programs made; those that the cloud made itself are left out. */
  list(options: Abortable): Promise<readonly CloudRoute[]>;
  /** @throws of kind `conflict` if there is one to that destination */
  create(route: CloudRoute, options: Abortable): Promise<void>;
  /** Makes `found` what `route` is. @throws of kind `gone` if it is not there any more */
  replace(found: CloudRoute, route: CloudRoute, options: Abortable): Promise<void>;
  /** What a table is called by itself, once the routes have been listed. @param table as it stands in a route */
  tableOf(table: string | undefined): string | undefined;
  /** Succeeds if it is gone. */
  remove(found: CloudRoute, options: Abortable): Promise<void>;
}
