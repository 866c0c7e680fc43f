import type { Json, JsonObject, KubeObject } from "./objects.ts";
import { badRequest, StatusError } from "./status.ts";

export const PATCH_TYPES = [
  "application/json-patch+json",
  "application/merge-patch+json",
  "application/strategic-merge-patch+json",
] as const;

/** Lists that a strategic merge patch merges item by item, with what tells items apart: `patchMergeKey` of the core types. */
const MERGE_KEYS: Readonly<Record<string, string>> = {
  "status.conditions": "type",
  "status.addresses": "type",
  "spec.taints": "key",
  "spec.template.spec.containers": "name",
  "spec.template.spec.initContainers": "name",
  "spec.template.spec.volumes": "name",
};

/** Applies a patch of one of the content types. @throws {StatusError} 415 for any other, 400 for a body that is none */
export function applyPatch(object: KubeObject, contentType: string, body: string): KubeObject {
  const type = contentType.split(";")[0]?.trim() ?? "";
  if (!PATCH_TYPES.some((known) => known === type))
    throw new StatusError(
      415,
      "UnsupportedMediaType",
      `the body of the request was in an unknown format - accepted media types include: ${PATCH_TYPES.join(", ")}`,
    );
  const patch = parse(body);
  const copy = structuredClone(object) as unknown as JsonObject;
  if (type === "application/json-patch+json") return applyOperations(copy, patch) as unknown as KubeObject;
  if (!isObject(patch)) throw badRequest(`error decoding patch: json: cannot unmarshal into Go value of type map`);
  return (type === "application/merge-patch+json" ? merge(copy, patch) : strategic(copy, patch, "")) as never;
}

function parse(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch (error) {
    throw badRequest(`error decoding patch: ${String(error)}`);
  }
}

/** RFC 7386. */
function merge(target: JsonObject, patch: JsonObject): JsonObject {
  for (const [key, value] of Object.entries(patch)) {
    const current = target[key];
    if (value === null) delete target[key];
    else if (isObject(value)) target[key] = merge(isObject(current) ? current : {}, value);
    else target[key] = value;
  }
  return target;
}

/** Kubernetes: "Use a strategic merge patch to update a Deployment", and sig-api-machinery's strategic-merge-patch.md. */
function strategic(target: JsonObject, patch: JsonObject, path: string): JsonObject {
  if (patch["$patch"] === "replace") {
    const { $patch: _, ...rest } = patch;
    return rest;
  }
  for (const [key, value] of Object.entries(patch)) {
    if (key.startsWith("$setElementOrder/") || key === "$retainKeys") continue;
    const here = path === "" ? key : `${path}.${key}`;
    const current = target[key];
    if (value === null) delete target[key];
    else if (isObject(value)) target[key] = strategic(isObject(current) ? current : {}, value, here);
    else if (Array.isArray(value) && MERGE_KEYS[here] !== undefined)
      target[key] = mergeList(Array.isArray(current) ? current : [], value, MERGE_KEYS[here], here);
    else target[key] = value;
  }
  return target;
}

function mergeList(current: readonly Json[], patch: readonly Json[], mergeKey: string, path: string): Json[] {
  let result = [...current];
  for (const item of patch) {
    if (!isObject(item)) throw badRequest(`${path}: items must be objects`);
    const id = item[mergeKey];
    if (id === undefined)
      throw badRequest(`map: ${JSON.stringify(item)} does not contain declared merge key: ${mergeKey}`);
    const index = result.findIndex((each) => isObject(each) && each[mergeKey] === id);
    const found = result[index];
    if (item["$patch"] === "delete") result = result.filter((_, at) => at !== index);
    else if (isObject(found)) result[index] = strategic({ ...found }, item, `${path}[]`);
    else result.push(item);
  }
  return result;
}

/** RFC 6902: add, remove, replace and test. */
function applyOperations(target: JsonObject, operations: Json): JsonObject {
  if (!Array.isArray(operations)) throw badRequest("error decoding patch: a JSON patch is a list");
  for (const each of operations) {
    if (!isObject(each) || typeof each["path"] !== "string") throw badRequest("error decoding patch: no path");
    const parts = each["path"]
      .split("/")
      .slice(1)
      .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
    const last = parts.pop() ?? "";
    let parent: Json | undefined = target;
    for (const part of parts) parent = isObject(parent) ? parent[part] : undefined;
    if (!isObject(parent)) throw new StatusError(422, "Invalid", `no such path: ${each["path"]}`);
    const { op, value = null } = each as { op?: Json; value?: Json };
    if (op === "add" || (op === "replace" && last in parent)) parent[last] = value;
    else if (op === "remove" && last in parent) delete parent[last];
    else if (!(op === "test" && JSON.stringify(parent[last]) === JSON.stringify(value)))
      throw new StatusError(422, "Invalid", `the operation does not apply: ${JSON.stringify(each)}`);
  }
  return target;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
