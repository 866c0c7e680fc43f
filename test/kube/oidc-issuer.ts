import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import type { Authority } from "../support/certificates.ts";

/** The little of an OpenID Connect provider that refreshes an ID token: "OpenID Connect Core 1.0" §12, "Discovery 1.0" §4. */
export class OidcIssuer implements AsyncDisposable {
  readonly #server: Server;
  /** Refresh tokens that it has been shown. Each is good for once: `refresh-1`, `refresh-2` and so on. */
  readonly shown: string[] = [];
  #turn = 1;
  /** The ID token that it gave last. */
  last = "";
  /** Called with each ID token that it gives. */
  onToken: (token: string) => void = () => undefined;

  static async start({ server }: Authority): Promise<OidcIssuer> {
    const issuer = new OidcIssuer(readFileSync(server.cert), readFileSync(server.key));
    issuer.#server.listen(0, "127.0.0.1");
    await once(issuer.#server, "listening");
    return issuer;
  }

  private constructor(cert: Buffer, key: Buffer) {
    this.#server = createServer({ cert, key }, (request, response) => {
      void this.#answer(request).then(
        (answer) => response.setHeader("Content-Type", "application/json").end(JSON.stringify(answer)),
        () => response.writeHead(400, { "Content-Type": "application/json" }).end('{"error":"invalid_grant"}'),
      );
    });
  }

  get url(): string {
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** `refresh-1` is good again. */
  forget(): void {
    this.#turn = 1;
  }

  /** A token that says when it ends; nobody checks the signature. @param lifetime seconds, negative for one that has run out */
  idToken(lifetime: number): string {
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: this.url, aud: "flannel", sub: "node-a", iat: now - 3_600, exp: now + lifetime };
    const part = (json: object) => Buffer.from(JSON.stringify(json)).toString("base64url");
    return `${part({ alg: "RS256", typ: "JWT" })}.${part(claims)}.${Buffer.from("signature").toString("base64url")}`;
  }

  async #answer(request: IncomingMessage): Promise<unknown> {
    if (request.url === "/.well-known/openid-configuration")
      return { issuer: this.url, token_endpoint: `${this.url}/token`, jwks_uri: `${this.url}/keys` };
    const form = new URLSearchParams(await text(request));
    const token = form.get("refresh_token") ?? "";
    this.shown.push(token);
    if (
      form.get("grant_type") !== "refresh_token" ||
      form.get("client_id") !== "flannel" ||
      token !== `refresh-${this.#turn}`
    )
      throw new Error("invalid_grant");
    this.last = this.idToken(600 + this.#turn++);
    this.onToken(this.last);
    return {
      access_token: "access",
      token_type: "Bearer",
      expires_in: 600,
      id_token: this.last,
      refresh_token: `refresh-${this.#turn}`,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}
