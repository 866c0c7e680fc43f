import type { ObjectStore } from "./object-store.ts";
import { apiVersionOf, type KubeObject } from "./objects.ts";
import { applyPatch } from "./patch.ts";
import type { Target } from "./path.ts";
import { check } from "./rules.ts";
import { selector } from "./selectors.ts";
import { badRequest, conflict, expired, methodNotAllowed, notFound, StatusError } from "./status.ts";
import { textOf } from "./text.ts";

/** JSON and what goes with it. */
export interface Answer {
  readonly code: number;
  readonly text: string;
  /** For a table. */
  readonly objects?: readonly KubeObject[];
  readonly metadata?: object;
}

/** The API's verbs on what is in the store. */
export class Answers {
  readonly #store: ObjectStore;

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  get({ resource, namespace = "", name = "" }: Target): Answer {
    const object = this.#store.get(resource, namespace, name);
    if (object === undefined) throw notFound(resource, name);
    return { code: 200, text: textOf(object), objects: [object], metadata: {} };
  }

  /** "Retrieving large results sets in chunks" in the Kubernetes documentation. */
  list({ resource, namespace }: Target, query: URLSearchParams): Answer {
    const store = this.#store;
    const token = query.get("continue") ?? "";
    const wanted = query.get("resourceVersion") ?? "";
    if (token !== "" && wanted !== "" && wanted !== "0")
      throw badRequest("specifying resource version is not allowed when using continue");
    if (query.has("resourceVersionMatch") && wanted === "")
      throw badRequest("resourceVersionMatch is forbidden unless resourceVersion is provided");
    if (Number(wanted) > store.version)
      throw new StatusError(504, "Timeout", `Too large resource version: ${wanted}, current: ${store.version}`, {
        details: {
          retryAfterSeconds: 1,
          causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
        },
      });
    const { version, start } = token === "" ? { version: store.version, start: "" } : parseToken(token);
    const snapshot = store.listAt(resource, namespace, version);
    if (snapshot === undefined)
      throw expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
        makeToken(store.version, start),
      );
    const selects = selector(query);
    const matching = snapshot.filter((object) => selects(object) && object.metadata.name > start);
    const limit = Number(query.get("limit") ?? 0);
    const page = limit > 0 ? matching.slice(0, limit) : matching;
    const left = matching.length - page.length;
    const metadata = {
      resourceVersion: String(version),
      ...(left > 0 && { continue: makeToken(version, page.at(-1)?.metadata.name ?? ""), remainingItemCount: left }),
    };
    const head = JSON.stringify({ kind: `${resource.kind}List`, apiVersion: apiVersionOf(resource), metadata });
    const text = `${head.slice(0, -1)},"items":[${page.map(textOf).join(",")}]}`;
    return { code: 200, text, objects: page, metadata };
  }

  create({ resource, namespace }: Target, body: string, query: URLSearchParams): Answer {
    const object = parseObject(body);
    if (namespace !== undefined && object.metadata.namespace === undefined) object.metadata.namespace = namespace;
    if (object.metadata.namespace !== namespace)
      throw badRequest("the namespace of the provided object does not match the namespace sent on the request");
    check(resource, object);
    if (query.get("dryRun") === "All") return { code: 201, text: body };
    return { code: 201, text: textOf(this.#store.create(resource, object)) };
  }

  update(target: Target, body: string): Answer {
    const { resource, namespace = "", name = "" } = target;
    const before = this.#store.get(resource, namespace, name);
    if (before === undefined) throw notFound(resource, name);
    return this.#change(target, before, parseObject(body));
  }

  patch(target: Target, contentType: string, body: string): Answer {
    const { resource, namespace = "", name = "" } = target;
    const before = this.#store.get(resource, namespace, name);
    // The body is looked at first, so that a wrong type is told also of what is not there.
    const after = applyPatch(before ?? { kind: "", apiVersion: "", metadata: { name } }, contentType, body);
    if (before === undefined) throw notFound(resource, name);
    return this.#change(target, before, after);
  }

  remove({ resource, namespace = "", name = "" }: Target): Answer {
    if (name === "") throw methodNotAllowed();
    const { metadata } = this.#store.remove(resource, namespace, name);
    const details = { name, kind: resource.name, uid: metadata.uid };
    return {
      code: 200,
      text: JSON.stringify({ kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details }),
    };
  }

  #change({ resource, name = "", subresource }: Target, before: KubeObject, after: KubeObject): Answer {
    const expected = after.metadata.resourceVersion;
    if (expected !== undefined && expected !== before.metadata.resourceVersion) throw conflict(resource, name);
    const object = { ...after, metadata: { ...after.metadata, ...identity(before) } };
    // A status subresource changes metadata too, but no spec; the resource itself no status.
    if (resource.hasStatus) copy(before, object, subresource === "status" ? "spec" : "status");
    check(resource, object, before);
    if (textOf(object) === textOf(before)) return { code: 200, text: textOf(before) };
    return { code: 200, text: textOf(this.#store.replace(resource, object)) };
  }
}

function copy(from: KubeObject, to: KubeObject, field: string): void {
  if (from[field] === undefined) delete to[field];
  else to[field] = from[field];
}

/** What no client can change. */
function identity({ metadata }: KubeObject): Partial<KubeObject["metadata"]> {
  const { name, namespace, uid, creationTimestamp, resourceVersion } = metadata;
  return {
    name,
    ...(namespace !== undefined && { namespace }),
    ...(uid !== undefined && { uid }),
    ...(creationTimestamp !== undefined && { creationTimestamp }),
    ...(resourceVersion !== undefined && { resourceVersion }),
  };
}

function parseObject(text: string): KubeObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw badRequest(`the object provided is unrecognized (must be of type ...): ${String(error)}`);
  }
  const object = value as Partial<KubeObject> | null;
  if (typeof object !== "object" || object === null || typeof object.metadata !== "object")
    throw badRequest("the object provided is unrecognized: no metadata");
  return object as KubeObject;
}

function makeToken(version: number, start: string): string {
  return Buffer.from(JSON.stringify({ v: "meta.k8s.io/v1", rv: version, start })).toString("base64url");
}

function parseToken(token: string): { readonly version: number; readonly start: string } {
  try {
    const { rv, start } = JSON.parse(Buffer.from(token, "base64url").toString()) as { rv: number; start: string };
    return { version: rv, start };
  } catch {
    throw badRequest("continue key is not valid");
  }
}

/** For the log of calls and for RBAC. */
export function verbOf(method: string, { name }: Target, query: URLSearchParams): string {
  if (method === "GET" || method === "HEAD") {
    if (["true", "1"].includes(query.get("watch") ?? "")) return "watch";
    return name === undefined ? "list" : "get";
  }
  const verbs: Readonly<Record<string, string>> = { POST: "create", PUT: "update", PATCH: "patch", DELETE: "delete" };
  const verb = verbs[method];
  if (verb === undefined || (verb === "create") !== (name === undefined)) throw methodNotAllowed();
  return verb;
}
