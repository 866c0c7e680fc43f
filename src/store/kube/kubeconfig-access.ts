import type { Agent, RequestOptions } from "node:https";
import type { KubeConfig } from "@kubernetes/client-node";
import { StoreRefusedError } from "../../lease/errors.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import { describeError, InvalidConfigError } from "../../lib/errors.ts";
import type { ApiAccess, Connection } from "./api-access.ts";
import { clusterName } from "./cluster-name.ts";
import type * as library from "./kubeconfig-library.ts";

/** How long a program that makes credentials may take. */
const PATIENCE: Milliseconds = 30_000;

type Library = Pick<typeof library, "KubeConfig">;

/** A kubeconfig with whatever way to be let in the library knows: certificates, tokens, passwords, programs, OpenID Connect. */
export class KubeconfigAccess implements ApiAccess {
  readonly server: string;
  readonly cluster: string;
  readonly #library: Library;
  readonly #file: string;
  readonly #url: string | undefined;
  readonly #clock: Clock;
  #config: KubeConfig;

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
      await Promise.race([this.#config.applyToHTTPSOptions(options), late]);
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

  refresh(): void {
    try {
      this.#config = this.#load();
    } catch {} // it is being written: what was read before may do again
  }

  #load(): KubeConfig {
    const config = new this.#library.KubeConfig();
    try {
      config.loadFromFile(this.#file);
    } catch (error) {
      throw new InvalidConfigError("--kubeconfig-file", `cannot be used: ${describeError(error)}`, { cause: error });
    }
    const cluster = config.getCurrentCluster();
    if (cluster === null)
      throw new InvalidConfigError("--kubeconfig-file", `${this.#file} has no cluster in its current context`);
    const server = this.#url ?? cluster.server;
    // The library would not be used without TLS unless it was told that this is meant.
    const skipTLSVerify = cluster.skipTLSVerify || server.startsWith("http:");
    const clusters = config.clusters.map((each) => (each === cluster ? { ...each, server, skipTLSVerify } : each));
    const { contexts, users, currentContext } = config;
    config.loadFromOptions({ clusters, contexts, users, currentContext });
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
