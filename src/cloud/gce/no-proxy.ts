/** By which names Google's libraries ask the metadata server, besides GCE_METADATA_HOST. */
const METADATA_HOSTS = ["169.254.169.254", "metadata.google.internal."];

/**
 * Google's libraries ask the metadata server, too, through the proxy that is meant for the API: on another instance, it would hand out that
 * one's identity. They can be told by the environment only.
 * @param env the process's own, to be changed
 */
export function keepMetadataFromProxy(env: NodeJS.ProcessEnv): void {
  const given = env["GCE_METADATA_HOST"];
  const hosts = [...METADATA_HOSTS, ...(given ? [new URL(`http://${given}`).hostname] : [])];
  const exempt = (env["NO_PROXY"] ?? env["no_proxy"] ?? "").split(",").filter((host) => host !== "");
  env["NO_PROXY"] = [...new Set([...exempt, ...hosts])].join(",");
}
