import type { ObjectStore } from "./object-store.ts";
import { type KubeObject, RESOURCES, type Resource } from "./objects.ts";
import { StatusError } from "./status.ts";
import { ADMINS, type User } from "./users.ts";

/** What somebody wants to do: "Authorization overview" in the Kubernetes documentation. */
export interface Attempt {
  readonly user: User;
  /** get, list, watch, create, update, patch, delete, impersonate */
  readonly verb: string;
  readonly resource: Pick<Resource, "group" | "name">;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
}

interface Rule {
  readonly verbs: readonly string[];
  readonly apiGroups?: readonly string[];
  readonly resources?: readonly string[];
  readonly resourceNames?: readonly string[];
}

/** RBAC by the roles and bindings that are in the store. @throws {StatusError} 403 */
export function authorize(store: ObjectStore, attempt: Attempt): void {
  if (attempt.user.groups.includes(ADMINS)) return;
  const bindings = [
    ...store.list(kind("ClusterRoleBinding")),
    ...(attempt.namespace === "" ? [] : store.list(kind("RoleBinding"), attempt.namespace)),
  ];
  const rules = bindings
    .filter((binding) => names(binding, attempt.user))
    .flatMap((binding) => rulesOf(store, binding));
  if (rules.some((rule) => allows(rule, attempt))) return;
  throw forbidden(attempt);
}

function forbidden({ user, verb, resource, subresource, namespace, name }: Attempt): StatusError {
  const { group } = resource;
  const what = `${resource.name}${subresource === "" ? "" : `/${subresource}`}`;
  const where = namespace === "" ? "at the cluster scope" : `in the namespace "${namespace}"`;
  const target = `${resource.name}${group === "" ? "" : `.${group}`}${name === "" ? "" : ` "${name}"`}`;
  return new StatusError(
    403,
    "Forbidden",
    `${target} is forbidden: User "${user.name}" cannot ${verb} resource "${what}" in API group "${group}" ${where}`,
    { details: { ...(name && { name }), kind: resource.name } },
  );
}

function names(binding: KubeObject, user: User): boolean {
  const subjects = (binding["subjects"] ?? []) as readonly { kind: string; name: string; namespace?: string }[];
  return subjects.some(({ kind, name, namespace = "" }) =>
    kind === "ServiceAccount"
      ? user.name === `system:serviceaccount:${namespace}:${name}`
      : kind === "Group"
        ? user.groups.includes(name)
        : user.name === name,
  );
}

function rulesOf(store: ObjectStore, binding: KubeObject): readonly Rule[] {
  const reference = binding["roleRef"] as { kind: string; name: string };
  const namespace = reference.kind === "Role" ? (binding.metadata.namespace ?? "") : "";
  return (store.get(kind(reference.kind), namespace, reference.name)?.["rules"] ?? []) as readonly Rule[];
}

function allows(rule: Rule, { verb, resource, subresource, name }: Attempt): boolean {
  const has = (list: readonly string[] | undefined, value: string) =>
    list?.some((each) => each === "*" || each === value);
  const what = subresource === "" ? resource.name : `${resource.name}/${subresource}`;
  const isNamed =
    rule.resourceNames === undefined || rule.resourceNames.length === 0 || rule.resourceNames.includes(name);
  return Boolean(has(rule.verbs, verb) && has(rule.apiGroups, resource.group) && has(rule.resources, what) && isNamed);
}

function kind(name: string): Resource {
  const found = RESOURCES.find((each) => each.kind === name);
  if (found === undefined) throw new Error(`no kind ${name}`);
  return found;
}
