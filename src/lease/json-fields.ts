import * as v from "valibot";
import { InvalidConfigError } from "../lib/errors.ts";

type Fields = v.ObjectSchema<v.ObjectEntries, undefined>;

/**
 * Reads a JSON object whose keys are matched without regard to case, as Go does and so every flannel config may be written;
 * unknown keys are ignored, of two spellings of one key the last counts, and null is the same as absent.
 * @param path where the object stands, `Backend` or empty for the whole
 * @throws {InvalidConfigError} naming the field and its value
 */
export function parseFields<Schema extends Fields>(
  schema: Schema,
  value: unknown,
  path: string,
): v.InferOutput<Schema> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new InvalidConfigError(path, `must be a JSON object, not ${JSON.stringify(value)}`);
  const names = new Map(Object.keys(schema.entries).map((name) => [name.toLowerCase(), name]));
  const known: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(value)) {
    const name = names.get(key.toLowerCase());
    if (name !== undefined && field !== null) known[name] = field;
  }
  const result = v.safeParse(schema, known);
  if (result.success) return result.output;
  const issue = result.issues[0];
  const key = issue.path?.map((item) => String(item.key)).join(".") ?? "";
  throw new InvalidConfigError(path === "" || key === "" ? path + key : `${path}.${key}`, explain(issue));
}

function explain(issue: v.BaseIssue<unknown>): string {
  if (issue.input === undefined) return "is missing";
  const given = JSON.stringify(issue.input);
  return issue.kind === "schema"
    ? `must be a ${issue.expected ?? "value of another type"}, not ${given}`
    : `${issue.message}, not ${given}`;
}

/** A whole number within bounds. */
export function integer(least: number, most: number) {
  const message = `must be a whole number from ${least} to ${most}`;
  return v.pipe(v.number(), v.integer(message), v.minValue(least, message), v.maxValue(most, message));
}
