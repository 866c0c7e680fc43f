import { systemClock } from "../../src/lib/clock.ts";
import { type Logger, silentLogger } from "../../src/lib/logger.ts";
import { KubeSubnetManager } from "../../src/store/kube/kube-subnet-manager.ts";
import { type KubeOptions, parseKubeOptions } from "../../src/store/kube/options.ts";
import type { FakeApiServer } from "./fake-api-server.ts";

/** A service account as the manifest makes it: no right that is not used. */
export const TOKEN = "flannel-token";
export const RIGHTS = [
  { apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"] },
  { apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"] },
  { apiGroups: [""], resources: ["pods"], verbs: ["get"] },
];

export interface ManagerOptions {
  readonly node?: string;
  readonly netConfigPath?: string;
  readonly logger?: Logger;
  readonly random?: () => number;
  readonly options?: Partial<KubeOptions>;
}

/** Lets the service account in, with its rights. */
export function admitFlannel(api: FakeApiServer, rights: readonly object[] = RIGHTS): void {
  api.users.addServiceAccount(TOKEN, "kube-flannel", "flannel");
  api.grant("kube-flannel", "flannel", rights);
}

export function kubeOptions(node: string | undefined, netConfigPath = "/nowhere"): KubeOptions {
  return parseKubeOptions({
    apiUrl: "",
    kubeconfigFile: "",
    annotationPrefix: "flannel.alpha.coreos.com",
    netConfigPath,
    setNetworkUnavailable: true,
    env: node === undefined ? {} : { NODE_NAME: node },
  });
}

/** A manager of this node, over plain HTTP with the service account's token. */
export function managerOf(
  api: Pick<FakeApiServer, "url">,
  { node, netConfigPath, logger = silentLogger, random, options }: ManagerOptions,
): KubeSubnetManager {
  const access = {
    server: api.url,
    cluster: "kubernetes/test",
    connection: async () => ({ headers: { Authorization: `Bearer ${TOKEN}` }, tls: {} }),
    refresh() {},
  };
  return new KubeSubnetManager({ ...kubeOptions(node, netConfigPath), ...options }, access, {
    clock: systemClock,
    logger,
    ...(random !== undefined && { random }),
  });
}
