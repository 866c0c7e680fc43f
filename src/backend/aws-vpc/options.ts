import * as v from "valibot";
import { parseFields, shown } from "../../lease/json-fields.ts";
import { InvalidConfigError } from "../../lib/errors.ts";
import { CheckInterval, USUAL_CHECK_INTERVAL } from "../cloud-routes.ts";

const Options = v.object({
  RouteTableID: v.optional(v.unknown()),
  CheckInterval: v.optional(CheckInterval, USUAL_CHECK_INTERVAL),
});

export interface AwsVpcOptions {
  /** Ids, none twice; empty: the one that the instance's subnet uses. */
  readonly routeTables: readonly string[];
  /** Seconds between two looks at the VPC. */
  readonly checkInterval: number;
}

/** Of resources made before 2016, 8 digits; since then 17. */
const ROUTE_TABLE_ID = /^rtb-([0-9a-f]{8}|[0-9a-f]{17})$/;
/** Values of one filter of a request. */
const MOST_TABLES = 200;

/** @throws {InvalidConfigError} naming the field */
export function parseAwsVpcOptions(json: unknown): AwsVpcOptions {
  const { RouteTableID, CheckInterval } = parseFields(Options, json, "Backend");
  return { routeTables: parseRouteTables(RouteTableID), checkInterval: CheckInterval };
}

/** One id or a list of them; in 0.7.0 only one, and an empty text is the same as none. */
function parseRouteTables(value: unknown): readonly string[] {
  if (value === undefined || value === "") return [];
  const ids: readonly unknown[] = Array.isArray(value) ? value : [value];
  const wrong = ids.find((id) => typeof id !== "string" || !ROUTE_TABLE_ID.test(id));
  if (wrong !== undefined)
    throw new InvalidConfigError(
      "Backend.RouteTableID",
      `must be a route table's id, as rtb-0a1b2c3d, or a list of them, not ${shown(wrong)}`,
    );
  if (ids.length > MOST_TABLES)
    throw new InvalidConfigError("Backend.RouteTableID", `must name at most ${MOST_TABLES} tables, not ${ids.length}`);
  return [...new Set(ids as readonly string[])];
}
