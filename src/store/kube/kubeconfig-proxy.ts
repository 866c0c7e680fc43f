import type { PeerCertificate } from "node:tls";
import type { Cluster } from "@kubernetes/client-node";
import { InvalidConfigError } from "../../lib/errors.ts";

/** What the library has an agent for. */
const SCHEMES = /^(https?|socks[45]?|socks4a|socks5h):$/;

/**
 * The proxy that a cluster names; undefined if it names none. A SOCKS5 proxy looks the server's name up, as behind kubectl; the library would
 * do so only for `socks5h`. "Use a SOCKS5 Proxy to Access the Kubernetes API" in the Kubernetes documentation.
 * @throws {InvalidConfigError} without the URL, which may hold a password
 */
export function proxyOf({ name, proxyUrl }: Cluster): string | undefined {
  const text: unknown = proxyUrl;
  if (text === undefined || text === null || text === "") return undefined;
  const url = typeof text === "string" && text.includes("://") ? URL.parse(text) : null;
  if (url !== null && SCHEMES.test(url.protocol)) return url.href.replace(/^socks5:/, "socks5h:");
  const instead = url === null ? "what is no URL" : `${url.protocol}//…`;
  throw new InvalidConfigError(
    "--kubeconfig-file",
    `proxy-url of cluster ${JSON.stringify(name)} must be http://…, https://… or socks5://…, not ${instead}`,
  );
}

export function isSocks(proxyUrl: string | undefined): boolean {
  return proxyUrl?.startsWith("socks") === true;
}

/**
 * Whether a certificate is the server's. The library's agent for SOCKS forgets which server it asked for by its address, and Node would
 * compare the certificate with `localhost` then.
 * @param server `https://10.96.0.1:443`
 * @param servername `tls-server-name`, in place of the server's own
 */
export function identityOf(server: string, servername: string | undefined) {
  const name = servername ?? new URL(server).hostname.replace(/^\[|\]$/g, "");
  return (_: string, certificate: PeerCertificate): Error | undefined =>
    process.getBuiltinModule("node:tls").checkServerIdentity(name, certificate);
}
