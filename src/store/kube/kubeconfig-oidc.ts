import { readFileSync } from "node:fs";
import { request } from "node:https";
import { buffer } from "node:stream/consumers";
import { type CustomFetch, customFetch, discovery, refreshTokenGrant } from "openid-client";
import type { AuthProvider } from "./kubeconfig-user.ts";

type Config = AuthProvider["config"];

/**
 * The ID token of a user by an OpenID Connect provider, renewed as it runs out: "OpenID Connect Tokens" in the Kubernetes documentation.
 * The library would renew it, too, but hands its OpenID client the provider's address as text, where that wants a URL.
 */
export class OidcSession {
  readonly #config: Config;
  #idToken: string | undefined;
  /** Some providers give another one each time, and the former is no longer good. It is kept here, and not in the file. */
  #refreshToken: string | undefined;
  #renewal: Promise<string> | undefined;

  constructor({ config }: AuthProvider) {
    this.#config = config;
    this.#idToken = text(config, "id-token");
    this.#refreshToken = text(config, "refresh-token");
  }

  /** Whether this is what goes on from such a config. */
  isOf({ name, config }: AuthProvider): boolean {
    return name === "oidc" && JSON.stringify(config) === JSON.stringify(this.#config);
  }

  /** @throws {Error} if it has run out and cannot be renewed: something is missing, the provider refuses, or makes no sense */
  async token(now: Date): Promise<string> {
    if (this.#idToken !== undefined && now.getTime() < endOf(this.#idToken)) return this.#idToken;
    // Once for all calls that wait: a provider may take a refresh token that is shown twice for stolen.
    this.#renewal ??= this.#renewed().finally(() => (this.#renewal = undefined));
    return (this.#idToken = await this.#renewal);
  }

  /** The server did not accept it, whatever it says of its end. */
  forget(): void {
    if (this.#refreshToken !== undefined) this.#idToken = undefined; // else it is all there is, and may do later
  }

  async #renewed(): Promise<string> {
    const refreshToken = this.#refreshToken ?? missing("refresh-token");
    const issuer = text(this.#config, "idp-issuer-url") ?? missing("idp-issuer-url");
    const client = text(this.#config, "client-id") ?? missing("client-id");
    const ca = authority(this.#config);
    const options = ca === undefined ? {} : { [customFetch]: fetchBy(ca) };
    const provider = await discovery(new URL(issuer), client, text(this.#config, "client-secret"), undefined, options);
    const tokens = await refreshTokenGrant(provider, refreshToken);
    this.#refreshToken = tokens.refresh_token ?? refreshToken;
    if (tokens.id_token === undefined) throw new Error(`${issuer} gave no id_token`);
    return tokens.id_token;
  }
}

function text(config: Config, name: string): string | undefined {
  const value = config[name];
  return typeof value === "string" && value !== "" ? value : undefined;
}

function missing(name: string): never {
  throw new Error(`its id-token has run out, and there is no ${name}`);
}

/** Of the provider's certificate; the system's if there is none. */
function authority(config: Config): Buffer | undefined {
  const file = text(config, "idp-certificate-authority");
  if (file !== undefined) return readFileSync(file);
  const data = text(config, "idp-certificate-authority-data");
  return data === undefined ? undefined : Buffer.from(data, "base64");
}

/** Milliseconds since 1970; never, if the token does not say: the server will. RFC 7519 §4.1.4. */
function endOf(idToken: string): number {
  try {
    const claims = JSON.parse(Buffer.from(idToken.split(".")[1] ?? "", "base64url").toString()) as Config;
    return typeof claims["exp"] === "number" ? claims["exp"] * 1000 : Infinity;
  } catch {
    return Infinity;
  }
}

/** `fetch()` of Node knows no authority but the system's. */
function fetchBy(ca: Buffer): CustomFetch {
  return (url, { method, headers, body, signal }) =>
    new Promise((resolve, reject) => {
      const sent = request(url, { method, headers, ca, ...(signal && { signal }) }, (message) => {
        const answer = (bytes: Buffer) =>
          new Response(new Uint8Array(bytes), {
            status: message.statusCode ?? 0,
            headers: message.headers as Record<string, string>,
          });
        buffer(message).then((bytes) => resolve(answer(bytes)), reject);
      });
      sent.on("error", reject);
      sent.end(body instanceof URLSearchParams ? body.toString() : undefined);
    });
}
