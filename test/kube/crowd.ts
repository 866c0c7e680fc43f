import { annotations, definite } from "./annotations.ts";
import { nodeObject } from "./api/object-store.ts";
import type { KubeObject } from "./api/objects.ts";

/** The images that a kubelet tells of, 50 at most: most of what a node's JSON is. */
const IMAGES = Array.from({ length: 50 }, (_, index) => ({
  names: [
    `registry.example.org/team-${index % 7}/service-${index}@sha256:${"0123456789abcdef".repeat(4)}`,
    `registry.example.org/team-${index % 7}/service-${index}:v1.${index}.0`,
  ],
  sizeBytes: 100_000_000 + index,
}));

/** A node as a real cluster has it, some 14 KB of JSON, of which flannel needs 300 bytes. */
export function crowdNode(
  name: string,
  podCIDR: string,
  publicIP: string,
  more: Readonly<Record<string, string>>,
): KubeObject {
  const node = nodeObject(name, [podCIDR]);
  const conditions = ["MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable", "Ready"].map((type) => ({
    type,
    status: type === "Ready" ? "True" : "False",
    lastHeartbeatTime: "2026-01-01T00:00:00Z",
    lastTransitionTime: "2026-01-01T00:00:00Z",
    reason: `KubeletHas${type}`,
    message: `kubelet has no ${type}, and says so in a sentence of about this length`,
  }));
  return {
    ...node,
    metadata: {
      ...node.metadata,
      annotations: { ...node.metadata.annotations, ...definite(annotations(publicIP, more)) },
    },
    status: { ...(node["status"] as object), conditions, images: IMAGES },
  };
}
