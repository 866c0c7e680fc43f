import { CNI_CODE, CniError } from "./cni-error.ts";

/** A JSON object whose values are not looked at yet. */
export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @throws {CniError} saying what it is instead; `what` names it */
export function parseJsonObject(text: string, what: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CniError(CNI_CODE.undecodable, `${what} is not JSON: ${reason}`, undefined, { cause: error });
  }
  if (!isJsonObject(value)) throw new CniError(CNI_CODE.undecodable, `${what} is not a JSON object: ${shorten(text)}`);
  return value;
}

/** At most 200 characters of what somebody else wrote. */
export function shorten(text: string): string {
  const line = text.trim();
  return line.length <= 200 ? line : `${line.slice(0, 200)}…`;
}
