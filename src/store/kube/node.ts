import { StoreUnavailableError } from "../../lease/errors.ts";
import type { Revision } from "../../lease/lease.ts";
import type { AnnotationKeys } from "./annotation-keys.ts";

/** What flannel needs of a node: a hundredth of it. Whatever else its JSON says is dropped where it arrives. */
export interface NodeFacts {
  readonly name: string;
  readonly version: Revision;
  /** As they stand there, of both families. */
  readonly podCIDRs: readonly string[];
  /** Only flannel's. */
  readonly annotations: { readonly [Key in keyof AnnotationKeys]?: string };
}

/** Only where it is looked for. */
export interface NodeCondition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
}

export type Fields = Readonly<Record<string, unknown>>;

/** Reads nodes, and keeps flannel's annotations of them. */
export class NodeReader {
  readonly #server: string;
  readonly #keys: readonly (readonly [keyof AnnotationKeys, string])[];

  constructor(server: string, keys: AnnotationKeys) {
    this.#server = server;
    this.#keys = Object.entries(keys) as [keyof AnnotationKeys, string][];
  }

  /** @throws {StoreUnavailableError} if it is no node: then something else answers there, or the answer was mutilated */
  read(value: unknown): NodeFacts {
    const { metadata, spec } = fields(value);
    const { name, resourceVersion, annotations } = fields(metadata);
    if (typeof name !== "string" || name === "") throw this.#strange("a node without a name");
    const { podCIDR, podCIDRs } = fields(spec);
    return {
      name,
      version: this.version(resourceVersion),
      podCIDRs: cidrs(podCIDR, podCIDRs),
      annotations: this.#annotations(fields(annotations)),
    };
  }

  /**
   * A resourceVersion, which counts the changes of the API server's store: "Resource versions" in the Kubernetes documentation.
   * @throws {StoreUnavailableError}
   */
  version(text: unknown): Revision {
    if (typeof text === "string" && /^\d{1,19}$/.test(text)) return BigInt(text);
    throw this.#strange(`a resourceVersion that is no number, ${JSON.stringify(text)}`);
  }

  #annotations(all: Fields): NodeFacts["annotations"] {
    const own: Record<string, string> = {};
    for (const [field, key] of this.#keys) {
      const value = all[key];
      if (typeof value === "string") own[field] = value;
    }
    return own;
  }

  #strange(what: string): StoreUnavailableError {
    return new StoreUnavailableError(this.#server, `it answered with ${what}`);
  }
}

/** The conditions of a node's status; what makes no sense is left out. */
export function conditionsOf(node: unknown): readonly NodeCondition[] {
  const { conditions } = fields(fields(node)["status"]);
  if (!Array.isArray(conditions)) return [];
  return conditions.flatMap((each) => {
    const { type, status, reason } = fields(each);
    return typeof type === "string" && typeof status === "string"
      ? [{ type, status, reason: typeof reason === "string" ? reason : "" }]
      : [];
  });
}

/** `podCIDRs` names both families, `podCIDR` the first of them; before 1.16 there was only the latter. */
function cidrs(podCIDR: unknown, podCIDRs: unknown): readonly string[] {
  const listed = Array.isArray(podCIDRs) ? podCIDRs.filter((each) => typeof each === "string") : [];
  if (listed.length > 0) return listed;
  return typeof podCIDR === "string" && podCIDR !== "" ? [podCIDR] : [];
}

/** The members of a JSON object; of anything else none. */
export function fields(value: unknown): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
}
