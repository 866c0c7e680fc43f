import type { Abortable } from "../lib/abortable.ts";
import { systemClock } from "../lib/clock.ts";
import { InvalidConfigError, UnsupportedError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import { untilItWorks } from "../lib/until-it-works.ts";
import { count } from "../network/network-status.ts";
import { type InheritedDescriptor, takeInherited } from "../operate/inherited.ts";
import type { ListenAddress } from "../remote/listen-address.ts";
import type { ListenTarget } from "../remote/listener.ts";
import type { ServedStore } from "../remote/served-store.ts";
import { serveLeases } from "../remote/server.ts";
import { RegistrySubnetManager } from "../store/registry-subnet-manager.ts";
import type { FlanneldOptions } from "./flanneld-flags.ts";
import type { KubeStoreOptions, RegistryOptions, ServerOptions } from "./flanneld-store-flags.ts";
import { type OpenRegistryOptions, openRegistry } from "./open-registry.ts";
import { Supervision } from "./supervision.ts";

/** Serves the leases of a store to other hosts until the signal. @throws {InvalidConfigError} for what only a restart can mend */
export async function runServer(
  { store: storeOptions, stateDir, renewMargin, health }: FlanneldOptions,
  { address, files, authorization, keyPrefix }: ServerOptions,
  { signal, logger }: Abortable & { readonly logger: Logger },
): Promise<void> {
  const clock = systemClock;
  const { descriptors, complaints } = takeInherited(process.env, process.pid);
  for (const complaint of complaints) logger.warn("not all that the service manager passed is there", { complaint });
  await using supervision = new Supervision(process.env, health, { signal, logger });
  if (storeOptions.kind === "remote") throw new InvalidConfigError("--listen", "a server cannot be a client, too");
  const target = listenTarget(address, descriptors);
  const opening: OpenRegistryOptions = {
    stateDir,
    networks: "all",
    renewMargin,
    clock,
    logger,
    health: supervision.health,
    signal,
  };
  await using store = await untilItWorks(() => openServedStore(storeOptions, opening), "the store cannot be used yet", {
    clock,
    logger,
    signal,
    onFailure: (reason) => supervision.describe(() => `Waiting for the store: ${reason}.`),
    isFinal: (error) => error instanceof InvalidConfigError || error instanceof UnsupportedError,
  });
  await serveLeases(
    {
      store: store.served,
      target,
      files,
      authorization,
      keyPrefix,
      clock,
      logger,
      onListening: ({ address, port, waiting }) => {
        const where = `${address.includes(":") ? `[${address}]` : address}:${port}`;
        const how = files.certificate === undefined ? "without TLS" : "by TLS";
        supervision.describe(
          () =>
            `Serving leases of ${store.name} at ${where} ${how}; ${count(waiting(), "client")} waiting for changes.`,
          () => true,
        );
        supervision.ready();
      },
    },
    { signal },
  );
}

interface OpenedStore extends AsyncDisposable {
  /** For messages: `etcd v2 at http://127.0.0.1:2379`. */
  readonly name: string;
  readonly served: ServedStore;
}

async function openServedStore(
  store: RegistryOptions | KubeStoreOptions,
  options: OpenRegistryOptions,
): Promise<OpenedStore> {
  if (store.kind === "kubernetes") {
    const { openKube } = await import("../store/kube/open-kube.ts");
    const { servedNodes } = await import("../store/kube/served-nodes.ts");
    const kube = await openKube(store.kube, { ...options, env: process.env });
    return { name: kube.name, served: servedNodes(kube), [Symbol.asyncDispose]: () => kube[Symbol.asyncDispose]() };
  }
  const registry = await openRegistry(store, options);
  const manager = new RegistrySubnetManager(registry, options);
  const served = { manager, book: registry, networks: registry, administration: manager };
  return { name: registry.name, served, [Symbol.asyncDispose]: () => manager[Symbol.asyncDispose]() };
}

/** @throws {InvalidConfigError} if the service manager did not pass that socket */
function listenTarget(address: ListenAddress, inherited: readonly InheritedDescriptor[]): ListenTarget {
  if (address.kind === "tcp") return address;
  const sockets = inherited.filter(({ name }) => !name.startsWith("handover."));
  const found = address.number === undefined ? sockets[0] : sockets.find(({ fd }) => fd === address.number);
  if (found !== undefined) return { fd: found.fd };
  const passed = sockets.map(({ fd }) => fd).join(", ") || "none";
  const wanted = address.number === undefined ? "fd://" : `fd://${address.number}`;
  throw new InvalidConfigError(
    "--listen",
    `${wanted} was not socket activated (the service manager passed: ${passed})`,
  );
}
