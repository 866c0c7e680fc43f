import { isDeepStrictEqual } from "node:util";
import { apiVersionOf, type KubeObject, type Resource } from "./objects.ts";
import { badRequest, invalid } from "./status.ts";

/** Annotations together. */
const MOST_BYTES = 256 * 1024;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const QUALIFIED = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;

/** What the API would not store. @throws {StatusError} 400 or 422 */
export function check(resource: Resource, object: KubeObject, before?: KubeObject): void {
  if (object.kind !== resource.kind || object.apiVersion !== apiVersionOf(resource))
    throw badRequest(
      `the API version and kind in the data (${object.apiVersion}, ${object.kind}) do not match what is expected`,
    );
  const { name, annotations = {} } = object.metadata;
  if (typeof name !== "string" || !SUBDOMAIN.test(name) || name.length > 253)
    throw invalid(resource, name, `metadata.name: Invalid value: ${JSON.stringify(name)}`);
  let size = 0;
  for (const [key, value] of Object.entries(annotations)) {
    // Decoding fails in Go before anything is looked at.
    if (typeof value !== "string")
      throw badRequest(
        `json: cannot unmarshal ${typeof value} into Go struct field ObjectMeta.metadata.annotations of type string`,
      );
    const [first = "", second, ...more] = key.split("/");
    const isValid =
      more.length === 0 &&
      (second === undefined ? QUALIFIED.test(first) : SUBDOMAIN.test(first) && QUALIFIED.test(second));
    if (!isValid) throw invalid(resource, name, `metadata.annotations: Invalid value: "${key}"`);
    size += key.length + value.length;
  }
  if (size > MOST_BYTES)
    throw invalid(resource, name, `metadata.annotations: Too long: must have at most ${MOST_BYTES} bytes`);
  if (resource.kind === "Node") checkNode(resource, object, before);
  if (resource.kind === "DaemonSet" && before !== undefined) checkSelector(resource, object, before);
}

/** Which pods are a DaemonSet's is decided once. */
function checkSelector(resource: Resource, object: KubeObject, before: KubeObject): void {
  const [now, former] = [object, before].map(
    ({ spec }) => (spec as { readonly selector?: unknown } | undefined)?.selector,
  );
  if (!isDeepStrictEqual(now, former))
    throw invalid(
      resource,
      object.metadata.name,
      `spec.selector: Invalid value: ${JSON.stringify(now)}: field is immutable`,
    );
}

/** Of a node's spec little may change; its podCIDR may only be set once. */
function checkNode(resource: Resource, object: KubeObject, before: KubeObject | undefined): void {
  const { name } = object.metadata;
  const spec = (object["spec"] ?? {}) as NodeSpec;
  const former = (before?.["spec"] ?? {}) as NodeSpec;
  for (const cidr of spec.podCIDRs ?? [])
    if (!/^[0-9a-f.:]+\/\d+$/.test(cidr)) throw invalid(resource, name, `spec.podCIDRs: Invalid value: "${cidr}"`);
  if (spec.podCIDRs !== undefined && spec.podCIDR !== spec.podCIDRs[0])
    throw invalid(resource, name, "spec.podCIDR: must equal spec.podCIDRs[0]");
  if (former.podCIDR !== undefined && !isDeepStrictEqual(former.podCIDRs, spec.podCIDRs))
    throw invalid(resource, name, "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from empty");
  for (const condition of ((object["status"] ?? {}) as { conditions?: readonly Record<string, unknown>[] })
    .conditions ?? []) {
    if (!["True", "False", "Unknown"].includes(String(condition["status"])))
      throw invalid(resource, name, `status.conditions: Unsupported value: "${String(condition["status"])}"`);
    for (const time of ["lastHeartbeatTime", "lastTransitionTime"]) {
      const text = condition[time];
      if (
        text !== undefined &&
        text !== null &&
        !(typeof text === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(text))
      )
        throw badRequest(`parsing time ${JSON.stringify(text)}: cannot parse as RFC 3339`);
    }
  }
}

interface NodeSpec {
  readonly podCIDR?: string;
  readonly podCIDRs?: readonly string[];
}
