import type { IncomingMessage } from "node:http";
import type { ObjectStore } from "./object-store.ts";
import { authorize } from "./rbac.ts";
import { StatusError } from "./status.ts";
import type { User } from "./users.ts";

const EXTRA = "impersonate-extra-";
const AUTHENTICATION = "authentication.k8s.io";

/**
 * As whom somebody acts, if they may: "User impersonation" in the Kubernetes documentation.
 * @throws {StatusError} 403 for the first of name, groups, UID and extra fields that they may not take
 */
export function actingAs(store: ObjectStore, user: User, { headersDistinct }: IncomingMessage): User {
  const [name] = headersDistinct["impersonate-user"] ?? [];
  const groups = headersDistinct["impersonate-group"] ?? [];
  const [uid] = headersDistinct["impersonate-uid"] ?? [];
  const extra = Object.fromEntries(
    Object.entries(headersDistinct).flatMap(([header, values]) =>
      header.startsWith(EXTRA) ? [[decodeURIComponent(header.slice(EXTRA.length)), values ?? []]] : [],
    ),
  );
  if (name === undefined) {
    if (groups.length === 0 && uid === undefined && Object.keys(extra).length === 0) return user;
    throw new StatusError(500, "InternalError", "requested groups, uid or extra without impersonating a user");
  }
  const may = (group: string, resource: string, value: string, subresource = "") =>
    authorize(store, {
      user,
      verb: "impersonate",
      resource: { group, name: resource },
      subresource,
      namespace: "",
      name: value,
    });
  may("", "users", name);
  for (const group of groups) may("", "groups", group);
  if (uid !== undefined) may(AUTHENTICATION, "uids", uid);
  for (const [key, values] of Object.entries(extra))
    for (const value of values) may(AUTHENTICATION, "userextras", value, key);
  return { name, groups: [...groups, "system:authenticated"], ...(uid !== undefined && { uid }), extra };
}
