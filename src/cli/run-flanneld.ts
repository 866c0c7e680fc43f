import { openCloud } from "../cloud/open-cloud.ts";
import { closeAllOnExec } from "../kernel/descriptors.ts";
import { openFirewall } from "../kernel/firewall/linux-firewall.ts";
import { openKernel } from "../kernel/linux-kernel.ts";
import type { NetworkName } from "../lease/lease.ts";
import type { Abortable } from "../lib/abortable.ts";
import { systemClock } from "../lib/clock.ts";
import { InvalidConfigError, UnsupportedError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import { Scope } from "../lib/scope.ts";
import { untilItWorks } from "../lib/until-it-works.ts";
import { HostStateFile } from "../network/host-state.ts";
import { runNetwork } from "../network/network.ts";
import { describeNetwork, describeNetworks, type NetworkStatus } from "../network/network-status.ts";
import { runNetworks } from "../network/networks.ts";
import { openSettingsRecord } from "../network/settings/settings-record.ts";
import { Underlay } from "../network/underlay.ts";
import { takeInherited } from "../operate/inherited.ts";
import type { FlanneldOptions } from "./flanneld-flags.ts";
import { openHostStore } from "./open-host-store.ts";
import { openKeeper } from "./open-keeper.ts";
import { showInUse } from "./state-lock.ts";
import { Supervision } from "./supervision.ts";

/** The unnamed network of single-network mode. */
const SINGLE_NETWORK = "";
const NO_NODE = "our node in the cluster cannot be read yet";

/** Builds all parts of the daemon, hands them down and runs until the signal. @throws {InvalidConfigError} for what only a restart can mend */
export async function runFlanneld(
  options: FlanneldOptions,
  { signal, logger }: Abortable & { readonly logger: Logger },
): Promise<void> {
  const clock = systemClock;
  const { env } = process;
  const { descriptors: inherited, complaints } = takeInherited(env, process.pid);
  if (inherited.length > 0) closeAllOnExec();
  for (const complaint of complaints) logger.warn("not all that the service manager passed is there", { complaint });
  await using supervision = new Supervision(env, options.health, { signal, logger });
  const { liveness, health } = supervision;
  using kernel = openKernel({ logger });
  const cloud = openCloud({ clock, env });
  using firewall = await openFirewall({ logger, signal });
  const filters = { firewall, policy: options.firewall };
  const { stateDir, renewMargin } = options;
  using _use = showInUse(stateDir, logger);
  const settings = {
    record: options.configureHost ? await openSettingsRecord(stateDir, logger) : undefined,
    hasServices: options.store.kind === "kubernetes",
  };
  const unnamed = options.watchNetworks ? "all" : [SINGLE_NETWORK];
  const networks = options.networks.length > 0 ? options.networks : unnamed;
  // Side by side, since one computes while the other waits. If either fails, the program ends.
  const patience = {
    clock,
    logger,
    signal,
    onFailure: (reason: string) => supervision.describe(() => `Waiting for the store: ${reason}.`),
    isFinal: (error: unknown) => error instanceof InvalidConfigError || error instanceof UnsupportedError,
  };
  const opening = untilItWorks(
    () => openHostStore(options.store, { stateDir, networks, renewMargin, clock, logger, health, signal }),
    "the store cannot be used yet",
    patience,
  );
  const openUnderlay = async () => {
    const { kube } = options.store.kind === "kubernetes" ? await opening : {};
    // Annotations of the node say what --public-ip says, but per node.
    const annotated = kube && (await untilItWorks(() => kube.annotatedPublicIPs({ signal }), NO_NODE, patience));
    const rules = { ...options.interfaces, ...annotated };
    return await Underlay.open(kernel, rules, { clock, logger, signal });
  };
  const [underlay, { manager, directory, kube }] = await Promise.all([openUnderlay(), opening]);
  underlay.report();
  await using store = manager;
  await using scope = new Scope(signal);
  scope.spawn((signal) => underlay.run({ signal }));
  const openNetworkKeeper = (network: NetworkName) =>
    openKeeper({ network, stateDir, timeout: options.handoverTimeout, env, inherited, logger });
  if (options.networks.length > 0 || options.watchNetworks) {
    const { subnetDir } = options;
    const states = new Map<NetworkName, () => NetworkStatus>();
    supervision.describe(
      () => describeNetworks(new Map([...states].map(([name, status]) => [name, status()]))),
      () => states.size > 0 && [...states.values()].every(isUp),
    );
    const onStatus = (name: NetworkName, status: (() => NetworkStatus) | undefined) => {
      if (status === undefined) states.delete(name);
      else states.set(name, status);
      supervision.changed();
    };
    const shared = {
      names: options.networks,
      directory: options.watchNetworks ? directory : undefined,
      subnetDir,
      stateDir,
      store,
      kernel,
      cloud,
      underlay,
      filters,
      settings,
      renewMargin,
      clock,
      logger,
      liveness,
      onStatus,
    };
    scope.spawn((signal) => runNetworks({ ...shared, openKeeper: openNetworkKeeper }, { signal }));
    return await scope.join();
  }
  await using keeper = openNetworkKeeper(SINGLE_NETWORK);
  const network = {
    name: SINGLE_NETWORK,
    store,
    kernel,
    keeper,
    cloud,
    underlay,
    filters,
    settings,
    subnetFile: options.subnetFile,
    state: new HostStateFile(options.stateDir, options.subnetFile, logger),
    renewMargin: options.renewMargin,
    clock,
    logger,
    liveness,
    onStatus: (status: () => NetworkStatus) =>
      supervision.describe(
        () => describeNetwork(status()),
        () => isUp(status),
      ),
    onReady: () => {
      supervision.ready();
      keeper.ready({ signal }).catch(() => {}); // rejects only by the signal
      kube?.announceReady({ signal }).catch(() => {}); // likewise
    },
  };
  scope.spawn((signal) => runNetwork(network, { signal }));
  await scope.join();
}

function isUp(status: () => NetworkStatus): boolean {
  return status().phase === "up";
}
