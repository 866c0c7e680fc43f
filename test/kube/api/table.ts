import type { KubeObject, Resource } from "./objects.ts";

/** What `kubectl get` asks for first: "Receiving resources as Tables" in the Kubernetes documentation. */
export const TABLE = /application\/json;as=Table;v=v1;g=meta\.k8s\.io/;

export function tableOf(resource: Resource, objects: readonly KubeObject[], metadata: object, isFirst = true): object {
  const columns = resource.kind === "Node" ? ["Name", "Status", "Roles", "Age", "Version"] : ["Name", "Age"];
  return {
    kind: "Table",
    apiVersion: "meta.k8s.io/v1",
    metadata,
    columnDefinitions: isFirst
      ? columns.map((name) => ({
          name,
          type: "string",
          format: name === "Name" ? "name" : "",
          description: name,
          priority: 0,
        }))
      : null,
    rows: objects.map((object) => ({
      cells: resource.kind === "Node" ? nodeCells(object) : [object.metadata.name, age(object)],
      object: { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: object.metadata },
    })),
  };
}

function nodeCells(object: KubeObject): readonly string[] {
  const status = (object["status"] ?? {}) as {
    conditions?: readonly { type: string; status: string }[];
    nodeInfo?: { kubeletVersion?: string };
  };
  const isReady = status.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
  return [
    object.metadata.name,
    isReady ? "Ready" : "NotReady",
    "<none>",
    age(object),
    status.nodeInfo?.kubeletVersion ?? "",
  ];
}

function age({ metadata }: KubeObject): string {
  return `${Math.max(0, Math.round((Date.now() - Date.parse(metadata.creationTimestamp ?? "")) / 1000))}s`;
}
