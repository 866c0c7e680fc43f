import { apiVersionOf, RESOURCES, type Resource } from "./objects.ts";

/** What kubectl reads before anything else; undefined for a path that is none of these. */
export function discovery(path: string): object | undefined {
  if (path === "/version")
    return { major: "1", minor: "32", gitVersion: "v1.32.4", goVersion: "go1.23.6", platform: "linux/amd64" };
  if (path === "/api") return { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [] };
  if (path === "/apis") return { kind: "APIGroupList", apiVersion: "v1", groups: groups() };
  const [, prefix, ...rest] = path.split("/");
  const groupVersion = rest.join("/");
  const resources = RESOURCES.filter((each) => apiVersionOf(each) === groupVersion);
  if (resources.length === 0 || (prefix === "api") !== (groupVersion === "v1")) return undefined;
  return { kind: "APIResourceList", apiVersion: "v1", groupVersion, resources: resources.flatMap(entries) };
}

function groups(): readonly object[] {
  const versions = new Set(RESOURCES.filter(({ group }) => group !== "").map(apiVersionOf));
  return [...versions].map((groupVersion) => {
    const [name, version] = groupVersion.split("/");
    return { name, versions: [{ groupVersion, version }], preferredVersion: { groupVersion, version } };
  });
}

function entries({ name, kind, namespaced, shortNames, hasStatus }: Resource): readonly object[] {
  const verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
  const singularName = kind.toLowerCase();
  return [
    { name, singularName, namespaced, kind, verbs, shortNames },
    ...(hasStatus
      ? [{ name: `${name}/status`, singularName: "", namespaced, kind, verbs: ["get", "patch", "update"] }]
      : []),
  ];
}
