/** JSON of an API object that can be changed: copies are made before anything is. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

export interface ObjectMeta {
  name: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  creationTimestamp?: string;
  annotations?: Record<string, string>;
  labels?: Record<string, string>;
  [key: string]: Json | undefined;
}

export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  [key: string]: unknown;
}

/** A kind of object and where the API has it. */
export interface Resource {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  /** In paths: `nodes`. */
  readonly name: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly shortNames: readonly string[];
  /** What only `<path>/status` may change. */
  readonly hasStatus: boolean;
}

function resource(
  groupVersion: string,
  name: string,
  kind: string,
  scope: "cluster" | "namespace",
  shortNames: readonly string[] = [],
  hasStatus = false,
): Resource {
  const [group = "", version = ""] = groupVersion.includes("/") ? groupVersion.split("/") : ["", groupVersion];
  return { group, version, name, kind, namespaced: scope === "namespace", shortNames, hasStatus };
}

/** All that the fake has; what a flannel manifest consists of, and what flannel reads. */
export const RESOURCES: readonly Resource[] = [
  resource("v1", "nodes", "Node", "cluster", ["no"], true),
  resource("v1", "namespaces", "Namespace", "cluster", ["ns"], true),
  resource("v1", "pods", "Pod", "namespace", ["po"], true),
  resource("v1", "configmaps", "ConfigMap", "namespace", ["cm"]),
  resource("v1", "secrets", "Secret", "namespace"),
  resource("v1", "serviceaccounts", "ServiceAccount", "namespace", ["sa"]),
  resource("apps/v1", "daemonsets", "DaemonSet", "namespace", ["ds"], true),
  resource("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", "cluster"),
  resource("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", "cluster"),
  resource("rbac.authorization.k8s.io/v1", "roles", "Role", "namespace"),
  resource("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding", "namespace"),
];

export function apiVersionOf({ group, version }: Resource): string {
  return group === "" ? version : `${group}/${version}`;
}

/** `nodes` or, outside the core group, `daemonsets.apps`: as messages name it. */
export function qualifiedName({ group, name }: Resource): string {
  return group === "" ? name : `${name}.${group}`;
}

export function resourceOf(apiVersion: string, kind: string): Resource | undefined {
  return RESOURCES.find((each) => each.kind === kind && apiVersionOf(each) === apiVersion);
}

export function nodes(): Resource {
  const found = RESOURCES[0];
  if (found === undefined) throw new Error("no nodes");
  return found;
}
