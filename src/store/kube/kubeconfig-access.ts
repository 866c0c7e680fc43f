import { readFileSync } from "node:fs";
import type { Agent, RequestOptions } from "node:https";
import type { KubeConfig } from "@kubernetes/client-node";
import { StoreRefusedError } from "../../lease/errors.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import { describeError, InvalidConfigError } from "../../lib/errors.ts";
import type { ApiAccess, Connection } from "./api-access.ts";
import { clusterName } from "./cluster-name.ts";
import type * as library from "./kubeconfig-library.ts";
import { oidcOf, tokenFileOf, withoutOidc, withProgram } from "./kubeconfig-user.ts";

/** How long a program that makes credentials may take. */
const PATIENCE: Milliseconds = 30_000;

type Library = Pick<typeof library, "KubeConfig" | "OidcSession" | "parseYaml">;

/** A kubeconfig with whatever way to be let in the library knows: certificates, tokens, passwords, programs, OpenID Connect. */
export class KubeconfigAccess implements ApiAccess {
  readonly server: string;
  readonly cluster: string;
  readonly #library: Library;
  readonly #file: string;
  readonly #url: string | undefined;
  readonly #clock: Clock;
  #config: KubeConfig;
  #tokenFile: string | undefined;
  #oidc: library.OidcSession | undefined;

  /** @throws {InvalidConfigError} if the file cannot be read or names no cluster */
  static async open(file: string, url: string | undefined, clock: Clock): Promise<KubeconfigAccess> {
    return new KubeconfigAccess(await import("./kubeconfig-library.ts"), file, url, clock);
  }

  private constructor(library: Library, file: string, url: string | undefined, clock: Clock) {
    this.#library = library;
    this.#file = file;
    this.#url = url;
    this.#clock = clock;
    this.#config = this.#load();
    const { server = "", caData, caFile } = this.#config.getCurrentCluster() ?? {};
    this.server = server;
    this.cluster = clusterName(server, caData ?? caFile);
  }

  async connection({ signal }: Abortable): Promise<Connection> {
    const options: RequestOptions = {};
    const over = new AbortController();
    const late = this.#clock.sleep(PATIENCE, { signal: AbortSignal.any([signal, over.signal]) }).then(() => {
      throw new Error(`there were none within ${PATIENCE / 1000} s`);
    });
    try {
      await Promise.race([this.#fill(options), late]);
    } catch (error) {
      signal.throwIfAborted();
      throw new StoreRefusedError(this.server, `no credentials by ${this.#file}: ${describeError(error)}`, {
        cause: error,
      });
    } finally {
      over.abort();
      late.catch(() => undefined);
    }
    return connectionOf(options, this.#config.getCurrentCluster()?.proxyUrl !== undefined);
  }

  /** @throws {Error} if a way to be let in was named that leads nowhere: else we would be nobody in particular, and told of missing rights */
  async #fill(options: RequestOptions): Promise<void> {
    await this.#config.applyToHTTPSOptions(options);
    const headers = (options.headers ??= {}) as Record<string, string>;
    const provider = this.#config.getCurrentUser()?.authProvider as { readonly name?: unknown } | undefined;
    if (this.#oidc !== undefined)
      headers["Authorization"] = `Bearer ${await this.#oidc.token(this.#clock.wallClock())}`;
    else if (this.#tokenFile !== undefined)
      headers["Authorization"] = `Bearer ${readFileSync(this.#tokenFile, "utf8").trim()}`;
    else if (provider && headers["Authorization"] === undefined)
      throw new Error(`its auth-provider ${JSON.stringify(provider.name)} gives none, or is not known`);
  }

  refresh(): void {
    this.#oidc?.forget();
    try {
      this.#config = this.#load();
    } catch {} // it is being written: what was read before may do again
  }

  #load(): KubeConfig {
    try {
      return this.#read();
    } catch (error) {
      if (error instanceof InvalidConfigError) throw error;
      throw new InvalidConfigError("--kubeconfig-file", `cannot be used: ${describeError(error)}`, { cause: error });
    }
  }

  #read(): KubeConfig {
    const config = new this.#library.KubeConfig();
    config.loadFromFile(this.#file);
    const cluster = config.getCurrentCluster();
    if (cluster === null)
      throw new InvalidConfigError("--kubeconfig-file", `${this.#file} has no cluster in its current context`);
    const server = this.#url ?? cluster.server;
    // The library would not be used without TLS unless it was told that this is meant.
    const skipTLSVerify = cluster.skipTLSVerify || server.startsWith("http:");
    const used = { ...cluster, server, skipTLSVerify };
    const clusters = config.clusters.map((each) => (each === cluster ? used : each));
    const oidc = oidcOf(config.getCurrentUser());
    if (oidc === undefined) this.#oidc = undefined;
    else if (this.#oidc?.isOf(oidc) !== true) this.#oidc = new this.#library.OidcSession(oidc);
    const users = config.users.map((user) => withoutOidc(withProgram(user, used, this.#file)));
    const { contexts, currentContext } = config;
    config.loadFromOptions({ clusters, contexts, users, currentContext });
    const parsed = this.#library.parseYaml(readFileSync(this.#file, "utf8"));
    this.#tokenFile = tokenFileOf(parsed, config.getCurrentUser()?.name, this.#file);
    return config;
  }
}

function connectionOf(options: RequestOptions, isProxied: boolean): Connection {
  const { ca, cert, key, rejectUnauthorized, servername, auth, agent } = options;
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {})) headers[name] = String(value);
  if (auth) headers["Authorization"] = `Basic ${Buffer.from(auth).toString("base64")}`;
  return {
    headers,
    tls: {
      ...(ca !== undefined && { ca: ca as Buffer }),
      ...(cert !== undefined && { cert: cert as Buffer }),
      ...(key !== undefined && { key: key as Buffer }),
      ...(rejectUnauthorized !== undefined && { rejectUnauthorized }),
      ...(servername !== undefined && { servername }),
    },
    ...(isProxied && { agent: agent as Agent }),
  };
}
