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
    throw new InvalidConfigError(path, `${path === "" ? "it " : ""}must be a JSON object, not ${shown(value)}`);
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
  const given = shown(issue.input);
  return issue.kind === "schema"
    ? `must be a ${issue.expected === "Object" ? "JSON object" : (issue.expected ?? "value of another type")}, not ${given}`
    : `${issue.message}, not ${given}`;
}

/** A message stays readable whatever someone has written into the store. */
const LONGEST_SHOWN = 100;

/** A JSON value for a message, cut if it is long. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= LONGEST_SHOWN ? text : `${text.slice(0, LONGEST_SHOWN)}…`;
}

/** @throws {InvalidConfigError} saying where the text stops being JSON */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InvalidConfigError("", `it is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** A whole number within bounds. */
export function integer(least: number, most: number) {
  const message = `must be a whole number from ${least} to ${most}`;
  return v.pipe(v.number(), v.integer(message), v.minValue(least, message), v.maxValue(most, message));
}
