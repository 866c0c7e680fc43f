import { RequestError } from "./request-error.ts";

/** Who may change what, `--remote-authz` and `--remote-admins`. */
export interface AuthorizationOptions {
  /** A lease belongs to the certificate that made it, by its common name. */
  readonly byCommonName: boolean;
  /** Common names of those who alone may revoke leases and change reservations; anyone if absent. */
  readonly admins?: readonly string[] | undefined;
}

/** Decides by the common name of the client's certificate, undefined if it showed none. Refusals are RequestErrors with status 403. */
export class Authorization {
  readonly #byCommonName: boolean;
  readonly #admins: ReadonlySet<string> | undefined;

  constructor({ byCommonName, admins }: AuthorizationOptions) {
    this.#byCommonName = byCommonName;
    this.#admins = admins && new Set(admins);
  }

  /** Whom a lease that this client makes belongs to. */
  ownerFor(client: string | undefined): string | undefined {
    if (!this.#byCommonName) return undefined;
    if (client === undefined) throw refusal("a client certificate with a common name is needed");
    return client;
  }

  /** @throws {RequestError} unless the client may take or change a lease of `owner` */
  requireOwner(client: string | undefined, owner: string | undefined): void {
    if (!this.#byCommonName) return;
    const own = this.ownerFor(client);
    if (owner !== undefined && owner !== own)
      throw refusal(`this lease belongs to the certificate of ${JSON.stringify(owner)}, not of ${JSON.stringify(own)}`);
  }

  /** @throws {RequestError} unless the client may end a lease of `owner` */
  requireRevoker(client: string | undefined, owner: string | undefined): void {
    if (client !== undefined && this.#admins?.has(client)) return;
    if (this.#byCommonName && client !== undefined && client === owner) return;
    if (this.#admins !== undefined) this.requireAdmin(client);
    this.requireOwner(client, owner);
  }

  /** @throws {RequestError} unless the client may change reservations */
  requireAdmin(client: string | undefined): void {
    if (this.#admins === undefined || (client !== undefined && this.#admins.has(client))) return;
    throw refusal(
      client === undefined
        ? "only those named by --remote-admins may do this, and there was no client certificate"
        : `only those named by --remote-admins may do this, and ${JSON.stringify(client)} is none of them`,
    );
  }
}

function refusal(reason: string): RequestError {
  return new RequestError(403, reason, "refused");
}
