import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { Cluster, User } from "@kubernetes/client-node";
import { type Fields, fields } from "./node.ts";

/**
 * The file with a user's token, `tokenFile`: the library does not know this field.
 * "kubeconfig (v1)" in the Kubernetes documentation, AuthInfo.
 * @param kubeconfig as it was parsed
 * @param file where it was, for paths that begin there
 */
export function tokenFileOf(kubeconfig: unknown, user: string | undefined, file: string): string | undefined {
  const { users } = fields(kubeconfig);
  const found = Array.isArray(users) ? users.map(fields).find(({ name }) => name === user) : undefined;
  const { tokenFile } = fields(found?.["user"]);
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

/** What a user has of an OpenID Connect provider. */
export function oidcOf(user: User | null): Fields | undefined {
  const { name, config } = fields(user?.authProvider as unknown);
  return name === "oidc" ? fields(config) : undefined;
}

export function withoutOidc(user: User): User {
  return oidcOf(user) === undefined ? user : { ...user, authProvider: undefined };
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
