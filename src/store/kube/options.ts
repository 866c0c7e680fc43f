import { InvalidConfigError } from "../../lib/errors.ts";
import { type AnnotationKeys, annotationKeys } from "./annotation-keys.ts";

/** What the `--kube-…` flags and the pod's environment say. */
export interface KubeOptions {
  /** `--kube-api-url`, in place of the one that the kubeconfig or the pod names. */
  readonly apiUrl: string | undefined;
  /** `--kubeconfig-file`; undefined: as a pod of the cluster. */
  readonly kubeconfigFile: string | undefined;
  readonly annotations: AnnotationKeys;
  /** `--net-config-path`: the network's config is a file here, not an object of the API. */
  readonly netConfigPath: string;
  /** `--set-node-network-unavailable`: tell the node's condition that there is a network now. */
  readonly setNetworkUnavailable: boolean;
  /** How this host finds its node; undefined where it needs none, as a server. */
  readonly node: NodeIdentity | undefined;
}

/** `NODE_NAME`, or the pod that we are, which names its node. */
export type NodeIdentity =
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "pod"; readonly namespace: string; readonly name: string };

interface KubeFlags {
  readonly apiUrl: string;
  readonly kubeconfigFile: string;
  readonly annotationPrefix: string;
  readonly netConfigPath: string;
  readonly setNetworkUnavailable: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** @throws {InvalidConfigError} naming the flag or variable */
export function parseKubeOptions(flags: KubeFlags): KubeOptions {
  const { apiUrl, kubeconfigFile, annotationPrefix, netConfigPath, setNetworkUnavailable, env } = flags;
  if (apiUrl !== "" && !isHttpUrl(apiUrl))
    throw new InvalidConfigError("--kube-api-url", `must be http://… or https://…, not ${JSON.stringify(apiUrl)}`);
  if (netConfigPath === "") throw new InvalidConfigError("--net-config-path", "must not be empty");
  return {
    apiUrl: apiUrl === "" ? undefined : apiUrl.replace(/\/+$/, ""),
    kubeconfigFile: kubeconfigFile === "" ? undefined : kubeconfigFile,
    annotations: annotationKeys(annotationPrefix),
    netConfigPath,
    setNetworkUnavailable,
    node: parseNodeIdentity(env),
  };
}

function parseNodeIdentity({ NODE_NAME, POD_NAME, POD_NAMESPACE }: KubeFlags["env"]): NodeIdentity | undefined {
  if (NODE_NAME) return { kind: "name", name: checked("NODE_NAME", NODE_NAME) };
  if (!POD_NAME || !POD_NAMESPACE) return undefined;
  return {
    kind: "pod",
    namespace: checked("POD_NAMESPACE", POD_NAMESPACE),
    name: checked("POD_NAME", POD_NAME),
  };
}

/** Names of objects become parts of paths. */
function checked(variable: string, text: string): string {
  if (text.length <= 253 && /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(text)) return text;
  throw new InvalidConfigError(
    variable,
    `is no name of an object in Kubernetes: ${JSON.stringify(text.slice(0, 300))}`,
  );
}

function isHttpUrl(text: string): boolean {
  try {
    return /^https?:$/.test(new URL(text).protocol);
  } catch {
    return false;
  }
}
