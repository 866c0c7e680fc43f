import { readFileSync } from "node:fs";
import type { Agent, RequestOptions } from "node:https";
import type { KubeConfig } from "@kubernetes/client-node";
import { StoreRefusedError } from "../../lease/errors.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import { describeError, InvalidConfigError } from "../../lib/errors.ts";
import type { ApiAccess, Connection } from "./api-access.ts";
import { clusterName } from "./cluster-name.ts";
import { impersonationOf } from "./kubeconfig-impersonation.ts";
import type * as library from "./kubeconfig-library.ts";
import { identityOf, isSocks, proxyOf } from "./kubeconfig-proxy.ts";
import {
  type AuthProvider,
  PROVIDERS,
  providerOf,
  tokenFileOf,
  userOf,
  withoutProvider,
  withProgram,
} from "./kubeconfig-user.ts";

/** How long a program that makes credentials may take. */
const PATIENCE: Milliseconds = 30_000;

type Library = Pick<typeof library, "KubeConfig" | "OidcSession" | "ProviderSession" | "parseYaml">;

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
  #impersonation: Connection["headers"] = {};
  /** Of an `auth-provider`. */
  #session: library.OidcSession | library.ProviderSession | undefined;

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
      this.#reload(); // somebody may write better ones into it
      throw new StoreRefusedError(this.server, `no credentials by ${this.#file}: ${describeError(error)}`, {
        cause: error,
      });
    } finally {
      over.abort();
      late.catch(() => undefined);
    }
    const { proxyUrl } = this.#config.getCurrentCluster() ?? {};
    const { headers, tls, ...rest } = connectionOf(options, proxyUrl !== undefined);
    return {
      ...rest,
      headers: { ...headers, ...this.#impersonation },
      tls: { ...tls, ...(isSocks(proxyUrl) && { checkServerIdentity: identityOf(this.server, tls.servername) }) },
    };
  }

  /** @throws {Error} if a way to be let in was named that leads nowhere: else we would be nobody in particular, and told of missing rights */
  async #fill(options: RequestOptions): Promise<void> {
    await this.#config.applyToHTTPSOptions(options);
    const headers = (options.headers ??= {}) as Record<string, string>;
    const provider = providerOf(this.#config.getCurrentUser());
    if (this.#session !== undefined)
      headers["Authorization"] = `Bearer ${await this.#session.token(this.#clock.wallClock())}`;
    else if (this.#tokenFile !== undefined)
      headers["Authorization"] = `Bearer ${readFileSync(this.#tokenFile, "utf8").trim()}`;
    else if (provider && headers["Authorization"] === undefined)
      throw new Error(`its auth-provider ${JSON.stringify(provider.name)} gives none, or is not known`);
  }

  refresh(): void {
    this.#session?.forget();
    this.#reload();
  }

  #reload(): void {
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
    const { proxyUrl: _, ...rest } = cluster;
    const proxyUrl = proxyOf(cluster);
    const used = { ...rest, server, skipTLSVerify, ...(proxyUrl !== undefined && { proxyUrl }) };
    const clusters = config.clusters.map((each) => (each === cluster ? used : each));
    this.#session = this.#sessionOf(providerOf(config.getCurrentUser()));
    const users = config.users.map((user) => withoutProvider(withProgram(user, used, this.#file)));
    const { contexts, currentContext } = config;
    config.loadFromOptions({ clusters, contexts, users, currentContext });
    const { name = "" } = config.getCurrentUser() ?? {};
    const user = userOf(this.#library.parseYaml(readFileSync(this.#file, "utf8")), name);
    this.#tokenFile = tokenFileOf(user, this.#file);
    this.#impersonation = impersonationOf(user, name);
    return config;
  }

  /** What goes on from this; as long as it is the same, with what was renewed of it. */
  #sessionOf(provider: AuthProvider | undefined): library.OidcSession | library.ProviderSession | undefined {
    if (provider === undefined || !PROVIDERS.has(provider.name)) return undefined;
    if (this.#session?.isOf(provider) === true) return this.#session;
    const { OidcSession, ProviderSession } = this.#library;
    return provider.name === "oidc" ? new OidcSession(provider) : new ProviderSession(provider);
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
