import * as v from "valibot";
import { parseFields } from "../../lease/json-fields.ts";
import { CheckInterval, USUAL_CHECK_INTERVAL } from "../cloud-routes.ts";

const Options = v.object({ CheckInterval: v.optional(CheckInterval, USUAL_CHECK_INTERVAL) });

export interface GceOptions {
  /** Seconds between two looks at the project's routes. */
  readonly checkInterval: number;
}

/** @throws {InvalidConfigError} naming the field */
export function parseGceOptions(json: unknown): GceOptions {
  return { checkInterval: parseFields(Options, json, "Backend").CheckInterval };
}
