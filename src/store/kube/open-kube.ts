import { existsSync } from "node:fs";
import { join } from "node:path";
import type { ApiAccess } from "./api-access.ts";
import { type KubeManagerParts, KubeSubnetManager } from "./kube-subnet-manager.ts";
import type { KubeOptions } from "./options.ts";
import { PlainAccess } from "./plain-access.ts";
import { PodAccess, podServer, SERVICE_ACCOUNT } from "./pod-access.ts";

export interface OpenKubeParts extends KubeManagerParts {
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** @throws {InvalidConfigError} if the flags and the environment do not say how to reach the API server */
export async function openKube(options: KubeOptions, parts: OpenKubeParts): Promise<KubeSubnetManager> {
  return new KubeSubnetManager(options, await openAccess(options, parts), parts);
}

async function openAccess({ kubeconfigFile, apiUrl }: KubeOptions, { env, clock }: OpenKubeParts): Promise<ApiAccess> {
  if (kubeconfigFile !== undefined) {
    const { KubeconfigAccess } = await import("./kubeconfig-access.ts");
    return await KubeconfigAccess.open(kubeconfigFile, apiUrl, clock);
  }
  if (apiUrl === undefined) return new PodAccess(podServer(env));
  // A token is not for everybody who listens.
  const isPod = apiUrl.startsWith("https:") && existsSync(join(SERVICE_ACCOUNT, "token"));
  return isPod ? new PodAccess(apiUrl) : new PlainAccess(apiUrl);
}
