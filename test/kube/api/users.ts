import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";
import { unauthorized } from "./status.ts";

export interface User {
  readonly name: string;
  readonly groups: readonly string[];
  /** Only of who is impersonated. */
  readonly uid?: string;
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

export const ADMINS = "system:masters";
const ANONYMOUS: User = { name: "system:anonymous", groups: ["system:unauthenticated"] };

/** Who somebody is, by bearer token, password or client certificate: "Authenticating" in the Kubernetes documentation. */
export class Users {
  readonly #tokens = new Map<string, { readonly user: User; isExpired: boolean }>();
  readonly #passwords = new Map<string, User>();

  /** A token for this user until it is expired. */
  addToken(token: string, user: User): void {
    this.#tokens.set(token, { user, isExpired: false });
  }

  /** As a kubelet gets it for a pod: `system:serviceaccount:kube-flannel:flannel`. */
  addServiceAccount(token: string, namespace: string, name: string): void {
    this.addToken(token, {
      name: `system:serviceaccount:${namespace}:${name}`,
      groups: ["system:serviceaccounts", `system:serviceaccounts:${namespace}`, "system:authenticated"],
    });
  }

  /** A password, as of a proxy that stands before the server: Kubernetes itself knows none since 1.19. */
  addPassword(name: string, password: string, user: User): void {
    this.#passwords.set(Buffer.from(`${name}:${password}`).toString("base64"), user);
  }

  expireToken(token: string): void {
    const known = this.#tokens.get(token);
    if (known !== undefined) known.isExpired = true;
  }

  /** @throws {StatusError} 401 for a token that is unknown or no longer good */
  of(request: IncomingMessage): User {
    const socket = request.socket as Partial<TLSSocket>;
    if (socket.authorized === true) {
      const { CN, O } = socket.getPeerCertificate?.().subject ?? {};
      if (CN !== undefined) return { name: String(CN), groups: [...[O ?? []].flat(), "system:authenticated"] };
    }
    const { authorization } = request.headers;
    if (authorization === undefined) return ANONYMOUS;
    const byPassword = this.#passwords.get(/^Basic (\S+)$/.exec(authorization)?.[1] ?? "");
    if (byPassword !== undefined) return byPassword;
    const known = this.#tokens.get(/^Bearer (\S+)$/.exec(authorization)?.[1] ?? "");
    if (known === undefined || known.isExpired) throw unauthorized();
    return known.user;
  }
}
