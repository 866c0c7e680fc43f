import { type Clock, systemClock } from "../../src/lib/clock.ts";
import { type Logger, silentLogger } from "../../src/lib/logger.ts";
import { Scope } from "../../src/lib/scope.ts";
import type { TlsFiles } from "../../src/lib/tls-source.ts";
import type { AuthorizationOptions } from "../../src/remote/authorization.ts";
import { serveLeases } from "../../src/remote/server.ts";
import type { Registry } from "../../src/store/registry.ts";
import { RegistrySubnetManager } from "../../src/store/registry-subnet-manager.ts";

export interface ServingOptions {
  /** 0: any that is free. */
  readonly port?: number;
  readonly files?: TlsFiles;
  readonly authorization?: AuthorizationOptions;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/** A server on the loopback, in this process. */
export interface Serving extends AsyncDisposable {
  readonly port: number;
  /** `127.0.0.1:8888` */
  readonly address: string;
}

/** Serves a store until it is disposed of; the registry is the caller's. */
export async function serve(registry: Registry, options: ServingOptions = {}): Promise<Serving> {
  const {
    port = 0,
    files = {},
    authorization = { byCommonName: false },
    clock = systemClock,
    logger = silentLogger,
  } = options;
  const scope = new Scope();
  const manager = new RegistrySubnetManager(registry, { clock, logger });
  const { promise, resolve } = Promise.withResolvers<{ readonly port: number }>();
  scope.spawn((signal) =>
    serveLeases(
      {
        store: { manager, book: registry, networks: registry, administration: manager },
        target: { host: "127.0.0.1", port },
        files,
        authorization,
        keyPrefix: "/coreos.com/network",
        clock,
        logger,
        onListening: resolve,
      },
      { signal },
    ),
  );
  const failure = scope.join();
  const address = await Promise.race([promise, failure.then(() => Promise.reject(new Error("it ended by itself")))]);
  failure.catch(() => undefined);
  return {
    port: address.port,
    address: `127.0.0.1:${address.port}`,
    [Symbol.asyncDispose]: () => scope[Symbol.asyncDispose](),
  };
}
