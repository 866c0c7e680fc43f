import { apiVersionOf, RESOURCES, type Resource } from "./objects.ts";
import { noSuchPath } from "./status.ts";

export interface Target {
  readonly resource: Resource;
  /** undefined: all of them, or a resource that has none. */
  readonly namespace: string | undefined;
  /** undefined: the collection. */
  readonly name: string | undefined;
  readonly subresource: string;
}

/** Which resource a path names. @throws {StatusError} 404 for any that the API does not have */
export function parsePath(pathname: string): Target {
  const parts = pathname.split("/").slice(1).map(decodeURIComponent);
  const groupVersion = parts[0] === "api" ? parts[1] : `${parts[1]}/${parts[2]}`;
  let rest = parts[0] === "api" ? parts.slice(2) : parts.slice(3);
  if (parts[0] !== "api" && parts[0] !== "apis") throw noSuchPath();
  let namespace: string | undefined;
  if (rest[0] === "namespaces" && rest.length > 2) {
    namespace = rest[1];
    rest = rest.slice(2);
  }
  const [plural, name, subresource = "", ...more] = rest;
  const resource = RESOURCES.find((each) => each.name === plural && apiVersionOf(each) === groupVersion);
  if (resource === undefined || more.length > 0 || name === "") throw noSuchPath();
  if (resource.namespaced ? name !== undefined && namespace === undefined : namespace !== undefined) throw noSuchPath();
  if (subresource !== "" && !(subresource === "status" && resource.hasStatus)) throw noSuchPath();
  return { resource, namespace, name, subresource };
}
