import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { Cluster, User } from "@kubernetes/client-node";
import { type Fields, fields } from "./node.ts";

/** A user as the file has it, with what the library drops. @param kubeconfig as it was parsed */
export function userOf(kubeconfig: unknown, name: string | undefined): unknown {
  const { users } = fields(kubeconfig);
  return Array.isArray(users) ? users.map(fields).find((user) => user["name"] === name)?.["user"] : undefined;
}

/**
 * The file with a user's token, `tokenFile`: the library does not know this field.
 * "kubeconfig (v1)" in the Kubernetes documentation, AuthInfo.
 * @param user as it was parsed
 * @param file where it was, for paths that begin there
 */
export function tokenFileOf(user: unknown, file: string): string | undefined {
  const { tokenFile } = fields(user);
  return typeof tokenFile === "string" && tokenFile !== "" ? resolve(dirname(file), tokenFile) : undefined;
}

/**
 * A user whose program is found, and told, as Kubernetes has it: "Client authentication (v1)" and "client-go credential plugins" in the
 * Kubernetes documentation.
 */
export function withProgram(user: User, cluster: Cluster, file: string): User {
  const exec = fields(user.exec as unknown);
  const { command, env, apiVersion, provideClusterInfo } = exec;
  if (typeof command !== "string") return user;
  const spec = { interactive: false, ...(provideClusterInfo === true && { cluster: clusterInfo(cluster) }) };
  const info = JSON.stringify({ kind: "ExecCredential", apiVersion, spec });
  return {
    ...user,
    exec: {
      ...exec,
      command: command.includes("/") ? resolve(dirname(file), command) : command, // a name is looked up in the PATH
      env: [...(Array.isArray(env) ? (env as unknown[]) : []), { name: "KUBERNETES_EXEC_INFO", value: info }],
    },
  };
}

/** How a user is let in by means of somebody's service: `auth-provider`, which `exec` replaced. */
export interface AuthProvider {
  readonly name: string;
  readonly config: Fields;
}

/** Those that have a session of ours. */
export const PROVIDERS: ReadonlySet<string> = new Set(["oidc", "gcp", "azure"]);

export function providerOf(user: User | null): AuthProvider | undefined {
  const provider: unknown = user?.authProvider;
  if (provider === undefined || provider === null) return undefined;
  const { name, config } = fields(provider);
  return { name: typeof name === "string" ? name : "", config: fields(config) };
}

export function withoutProvider(user: User): User {
  return PROVIDERS.has(providerOf(user)?.name ?? "") ? { ...user, authProvider: undefined } : user;
}

function clusterInfo({ server, tlsServerName, skipTLSVerify, caFile, caData, proxyUrl }: Cluster) {
  const authority = caFile === undefined ? caData : readFileSync(caFile).toString("base64");
  return {
    server,
    "tls-server-name": tlsServerName,
    "insecure-skip-tls-verify": skipTLSVerify || undefined,
    "certificate-authority-data": authority,
    "proxy-url": proxyUrl,
  };
}
