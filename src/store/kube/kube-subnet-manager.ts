import { readFile } from "node:fs/promises";
import { ConfigNotFoundError, HistoryLostError, StoreUnavailableError } from "../../lease/errors.ts";
import type { Cursor, Lease, LeaseAttributes, LeaseUpdate, NetworkName, Revision } from "../../lease/lease.ts";
import { type NetworkConfig, parseNetworkConfig } from "../../lease/network-config.ts";
import { Outage } from "../../lease/outage.ts";
import type { StoreHealth } from "../../lease/store-health.ts";
import type { LeaseRequest, SubnetManager } from "../../lease/subnet-manager.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import { describeError } from "../../lib/errors.ts";
import type { Logger } from "../../lib/logger.ts";
import type { ApiAccess } from "./api-access.ts";
import { ApiClient } from "./api-client.ts";
import { CallGate } from "./call-gate.ts";
import { NodeReader } from "./node.ts";
import { NodeLeases } from "./node-leases.ts";
import { listNodes, presentVersion } from "./node-listing.ts";
import { watchNodes } from "./node-watch.ts";
import type { KubeOptions } from "./options.ts";
import { OwnNode } from "./own-node.ts";
import { type AnnotatedPublicIPs, OwnNodeLease } from "./own-node-lease.ts";
import { WatchPace } from "./watch-pace.ts";

/** Hosts whose watches end together, as when an API server restarts, do not list together. */
const RELIST_SPREAD: Milliseconds = 1_000;

export interface KubeManagerParts {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told of outages. */
  readonly health?: StoreHealth | undefined;
  readonly random?: () => number;
}

/**
 * The subnets that Kubernetes gives to its nodes, and what flannels write of themselves into their nodes' annotations. A host's lease
 * is its node: it never ends, and nobody chooses its subnet but the cluster.
 */
export class KubeSubnetManager implements SubnetManager {
  readonly leaseFormat = "later";
  readonly name: string;
  readonly #options: KubeOptions;
  readonly #parts: Required<KubeManagerParts>;
  readonly #cluster: string;
  readonly #client: ApiClient;
  readonly #reader: NodeReader;
  readonly #node: OwnNode;
  readonly #own: OwnNodeLease;

  constructor(options: KubeOptions, access: ApiAccess, parts: KubeManagerParts) {
    const { clock, logger, health, random = Math.random } = parts;
    this.#options = options;
    this.#parts = { clock, logger, health, random };
    this.#cluster = access.cluster;
    this.name = `Kubernetes at ${access.server}`;
    this.#client = new ApiClient(access, clock, new CallGate(clock, random));
    this.#reader = new NodeReader(access.server, options.annotations);
    this.#node = new OwnNode(options.node, { ...this.#parts, client: this.#client, reader: this.#reader });
    this.#own = new OwnNodeLease(this.#node, { ...options, ...this.#parts, store: this.name });
  }

  /** From the file that a ConfigMap is mounted as. */
  async networkConfig(network: NetworkName, { signal }: Abortable): Promise<NetworkConfig> {
    signal.throwIfAborted();
    const { netConfigPath: path } = this.#options;
    if (network !== "") throw new ConfigNotFoundError(`${path} (a cluster has one network, without a name)`);
    let text: string;
    try {
      text = await readFile(path, "utf8");
    } catch (error) {
      throw new ConfigNotFoundError(path, { cause: error });
    }
    return parseNetworkConfig(text);
  }

  acquireLease(_network: NetworkName, request: LeaseRequest, options: Abortable): Promise<Lease> {
    return this.#own.acquire(request, options);
  }

  updateLease(_network: NetworkName, lease: Lease, attributes: LeaseAttributes, options: Abortable): Promise<Lease> {
    return this.#own.update(lease, attributes, options);
  }

  async *watchLeases(
    _network: NetworkName,
    { signal, since }: Abortable & { readonly since?: Cursor },
  ): AsyncIterable<LeaseUpdate> {
    const { clock, logger, random } = this.#parts;
    using outage = new Outage({ ...this.#parts, store: () => this.name });
    const leases = new NodeLeases(this.#options.node && (await this.#ownName({ signal }, outage)), logger);
    const cursor = (index: Revision): Cursor => ({ history: this.#cluster, index });
    let version = since?.history === this.#cluster ? since.index : undefined;
    let mayBeReset = version !== undefined;
    const pace = new WatchPace({ ...this.#parts, server: this.#client.server });
    for (;;) {
      try {
        if (version === undefined) {
          const listing = await listNodes(this.#client, this.#reader, { signal });
          outage.over();
          version = listing.version;
          yield { type: "snapshot", leases: leases.replace(listing.nodes), cursor: cursor(version) };
        } else if (mayBeReset) await this.#checkHistory(version, { signal });
        mayBeReset = false;
        const started = clock.now();
        for await (const batch of watchNodes(this.#client, this.#reader, { since: version, random, signal })) {
          outage.over();
          version = later(version, batch);
          const events = leases.apply(batch);
          if (events.length > 0) yield { type: "events", events, cursor: cursor(version) };
        }
        await pace.next(clock.now() - started, { signal });
      } catch (error) {
        signal.throwIfAborted();
        mayBeReset = true;
        if (error instanceof HistoryLostError) {
          version = undefined;
          await clock.sleep(random() * RELIST_SPREAD, { signal });
        }
        await outage.wait(error, { signal });
      }
    }
  }

  /** What administrators wrote for this node; nothing of what is nonsense. */
  annotatedPublicIPs(options: Abortable): Promise<AnnotatedPublicIPs> {
    return this.#own.annotatedPublicIPs(options);
  }

  /** Tells the cluster that this node's network works, once that is so; until it succeeds or is refused. Rejects only by the signal. */
  async announceReady(options: Abortable): Promise<void> {
    if (!this.#options.setNetworkUnavailable) return;
    const { clock, logger } = this.#parts;
    for (;;) {
      try {
        if (await this.#node.setNetworkAvailable(options)) logger.info("node condition set: its network is available");
        return;
      } catch (error) {
        options.signal.throwIfAborted();
        const isAway = error instanceof StoreUnavailableError;
        const level = isAway ? "debug" : "error";
        logger[level]("the node's condition NetworkUnavailable cannot be set", { reason: describeError(error) });
        if (!isAway) return;
        await clock.sleep(1_000, options);
      }
    }
  }

  /** All leases there are, for a server. */
  async listLeases(options: Abortable): Promise<{ readonly leases: readonly Lease[]; readonly cursor: Cursor }> {
    const { nodes, version } = await listNodes(this.#client, this.#reader, options);
    const leases = new NodeLeases(undefined, this.#parts.logger).replace(nodes);
    return { leases, cursor: { history: this.#cluster, index: version } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client[Symbol.dispose]();
  }

  /** A server that goes on from an older backup would never tell us what we believe to know already. @throws {HistoryLostError} */
  async #checkHistory(version: Revision, options: Abortable): Promise<void> {
    const present = await presentVersion(this.#client, this.#reader, options);
    if (present < version)
      throw new HistoryLostError(`the API server is at version ${present}, and was at ${version}: it was restored`);
  }

  async #ownName(options: Abortable, outage: Outage): Promise<string> {
    for (;;) {
      try {
        return await this.#node.name(options);
      } catch (error) {
        options.signal.throwIfAborted();
        await outage.wait(error, options);
      }
    }
  }
}

/** @throws {HistoryLostError} if the server's versions went back */
function later(version: Revision, batch: readonly { readonly type: string; readonly version: Revision }[]): Revision {
  let latest = version;
  for (const event of batch) {
    if (event.type === "bookmark" && event.version < latest)
      throw new HistoryLostError(
        `the API server is at version ${event.version}, and was at ${latest}: it was restored`,
      );
    if (event.version > latest) latest = event.version;
  }
  return latest;
}
