import { equalPrefix, type Prefix } from "../../ip/prefix.ts";
import { ConfigNotFoundError, LeaseLostError, LeaseTakenError, StoreRefusedError } from "../../lease/errors.ts";
import type { Cursor, Lease, NetworkName } from "../../lease/lease.ts";
import { formatAttributes, formatLeaseKey, type LeaseSubnets } from "../../lease/lease-codec.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Logger } from "../../lib/logger.ts";
import { EntryReader } from "../entry-reader.ts";
import { Endpoints, UncertainWriteError } from "../etcd/endpoints.ts";
import type { EtcdOptions } from "../etcd/options.ts";
import {
  ConfigConflictError,
  type LeaseChange,
  type LeaseClaim,
  type LeaseEvents,
  type LeaseListing,
  type NetworkListing,
  type Registry,
  type StoredConfig,
} from "../registry.ts";
import { HttpClient } from "./http-client.ts";
import { type KeyAnswer, type KeyNode, KeysApi, type KeyWrite } from "./keys-api.ts";
import { arrivalTime, LEASE_TTL_SECONDS, leaseOfNode } from "./lease-node.ts";
import { LeaseWatch } from "./lease-watch.ts";

/** How often a write is tried of which it is uncertain whether it happened. */
const MOST_TRIES = 3;
/** How often the config may change under an unconditional `setConfig`. */
const MOST_CONFLICTS = 10;

/**
 * Leases in etcd's v2 keys API, as flannel 0.7.0 keeps them: `<prefix>/config`, `<prefix>/subnets/10.5.34.0-24`, named networks below
 * `<prefix>/<network>`. All reads are linearizable and every write has a condition.
 */
export class EtcdV2Registry implements Registry {
  readonly name: string;
  readonly leaseFormat = "0.7";
  readonly #prefix: string;
  readonly #clock: Clock;
  readonly #http: HttpClient;
  readonly #api: KeysApi;
  readonly #endpoints: Endpoints;
  readonly #reader: EntryReader;
  readonly #closed = new AbortController();

  constructor(options: EtcdOptions, { clock, logger }: { readonly clock: Clock; readonly logger: Logger }) {
    this.name = `etcd v2 at ${options.endpoints.join(",")}`;
    this.#prefix = options.prefix === "/" ? "" : options.prefix.replace(/^\/?/, "/"); // v2's keys are paths
    this.#clock = clock;
    this.#http = new HttpClient(options, clock);
    this.#api = new KeysApi(this.#http);
    this.#endpoints = new Endpoints(options.endpoints, { clock, logger });
    this.#reader = new EntryReader(logger);
  }

  async getConfig(network: NetworkName, options: Abortable): Promise<StoredConfig> {
    const key = this.#configKey(network);
    const { node } = await this.#get(key, options);
    if (node === undefined) throw new ConfigNotFoundError(key);
    if (node.value === undefined)
      throw new StoreRefusedError(this.#endpoints.current, `${key} is a directory, not a config`);
    return { text: node.value, revision: BigInt(node.modifiedIndex) };
  }

  async setConfig(
    network: NetworkName,
    text: string,
    { signal, expected }: Abortable & { readonly expected?: bigint },
  ): Promise<void> {
    const key = this.#configKey(network);
    for (let tries = 1; ; tries++) {
      const revision = expected ?? BigInt((await this.#get(key, { signal })).node?.modifiedIndex ?? 0);
      const condition = revision === 0n ? ({ prevExist: false } as const) : { prevIndex: revision };
      const { refusal } = await this.#write({ key, condition, value: text }, (node) => node?.value === text, signal);
      if (refusal === undefined) return;
      if (expected !== undefined || tries === MOST_CONFLICTS)
        throw new ConfigConflictError(`${key} was changed meanwhile: ${refusal.message} ${refusal.cause}`);
    }
  }

  async listNetworks(options: Abortable): Promise<NetworkListing> {
    const { node, header } = await this.#get(this.#prefix, options);
    const names = (node?.nodes ?? []).flatMap(({ key, dir }) => (dir ? key.slice(key.lastIndexOf("/") + 1) : []));
    const isNetwork = await Promise.all(
      names.map(async (name) => (await this.#get(this.#configKey(name), options)).node?.value !== undefined),
    );
    const networks = names.filter((_, index) => isNetwork[index]).toSorted();
    return { networks, cursor: { history: header.cluster, index: header.index } };
  }

  async listLeases(
    network: NetworkName,
    { signal, withExpirations = false }: Abortable & { readonly withExpirations?: boolean },
  ): Promise<LeaseListing> {
    const { node, header } = await this.#get(this.#leasesKey(network), { signal, recursive: true });
    const { now, wallClock } = arrivalTime(this.#clock);
    const time = { now, wallClock: withExpirations ? wallClock : undefined };
    const leases: Lease[] = [];
    for (const child of node?.nodes ?? []) {
      const lease = leaseOfNode(child, this.#reader, time);
      if (lease !== undefined) leases.push(lease);
    }
    return { leases, cursor: { history: header.cluster, index: header.index } };
  }

  async getLease(network: NetworkName, subnet: Prefix, options: Abortable): Promise<Lease | undefined> {
    const { node } = await this.#get(this.#leaseKey(network, { subnet }), options);
    if (node !== undefined) return this.#lease(node);
    const { leases } = await this.listLeases(network, { ...options, withExpirations: true });
    return leases.find((lease) => equalPrefix(lease.subnet, subnet)); // its key may name an IPv6 subnet too
  }

  async createLease(network: NetworkName, claim: LeaseClaim, { signal }: Abortable): Promise<Lease> {
    const write = { ...this.#leaseWrite(network, claim, claim), condition: { prevExist: false } as const };
    const { node } = await this.#write(write, (found) => found !== undefined && holds(found, write), signal);
    if (node === undefined) throw new LeaseTakenError(claim.subnet);
    return this.#writtenLease(node);
  }

  async updateLease(
    network: NetworkName,
    lease: Lease,
    { attributes, isReservation, subnets = lease }: LeaseChange,
    { signal }: Abortable,
  ): Promise<Lease> {
    const claim = { subnet: lease.subnet, attributes, isReservation };
    if (formatLeaseKey(subnets) !== formatLeaseKey(lease)) {
      // Nothing writes two keys at once; in this order nobody ever hears that a lease is gone which is there.
      await this.deleteLease(network, lease, { signal });
      const { ipv6Subnet } = subnets;
      return await this.createLease(network, { ...claim, ...(ipv6Subnet !== undefined && { ipv6Subnet }) }, { signal });
    }
    const write = { ...this.#leaseWrite(network, lease, claim), condition: { prevIndex: lease.revision } };
    const isOurs = (found: KeyNode | undefined) =>
      found !== undefined && BigInt(found.modifiedIndex) > lease.revision && holds(found, write);
    const { node, refusal } = await this.#write(write, isOurs, signal);
    if (node === undefined) throw new LeaseLostError(lease.subnet, `${refusal.message} ${refusal.cause}`);
    return this.#writtenLease(node);
  }

  async deleteLease(network: NetworkName, lease: Lease, { signal }: Abortable): Promise<void> {
    const write = { key: this.#leaseKey(network, lease), condition: { prevIndex: lease.revision } };
    const { refusal } = await this.#write(write, (found) => found === undefined, signal);
    if (refusal !== undefined) throw new LeaseLostError(lease.subnet, `${refusal.message} ${refusal.cause}`);
  }

  watchLeases(network: NetworkName, since: Cursor, { signal }: Abortable): AsyncIterable<LeaseEvents> {
    const parts = {
      api: this.#api,
      endpoints: this.#endpoints,
      reader: this.#reader,
      clock: this.#clock,
      directory: this.#leasesKey(network),
    };
    return new LeaseWatch(parts, since).run({ signal: AbortSignal.any([signal, this.#closed.signal]) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort(new Error(`${this.name} is closed`));
    this.#http[Symbol.dispose]();
  }

  #get(key: string, options: Abortable & { readonly recursive?: boolean }): Promise<KeyAnswer> {
    return this.#endpoints.call(
      (endpoint, { signal }) => this.#api.get(endpoint, key, { ...options, signal }),
      options,
    );
  }

  /**
   * Writes once. When no answer comes, reading back tells whether it happened; only what has not happened is tried again, and as its
   * condition still stands, a first try that comes through late does no harm.
   * @param happened whether the key, or its absence, is what this write would have made
   */
  async #write(
    write: KeyWrite,
    happened: (node: KeyNode | undefined) => boolean,
    signal: AbortSignal,
  ): Promise<WriteOutcome> {
    let uncertain = false;
    for (let tries = 1; ; tries++) {
      try {
        const answer = await this.#endpoints.call((endpoint, options) => this.#api.write(endpoint, write, options), {
          signal,
          verify: (endpoint, options) => this.#api.get(endpoint, write.key, options),
        });
        if (answer.refusal === undefined || !uncertain) return answer;
        const { node } = await this.#get(write.key, { signal });
        return happened(node) ? { node: node ?? { key: write.key, modifiedIndex: 0 } } : answer;
      } catch (error) {
        if (!(error instanceof UncertainWriteError)) throw error;
        const { node } = await this.#get(write.key, { signal });
        if (happened(node)) return { node: node ?? { key: write.key, modifiedIndex: 0 } };
        if (tries === MOST_TRIES) throw error.cause;
        uncertain = true;
      }
    }
  }

  #leaseWrite(
    network: NetworkName,
    subnets: LeaseSubnets,
    { attributes, isReservation }: Omit<LeaseChange, "subnets">,
  ): Pick<KeyWrite, "key" | "ttl"> & { readonly value: string } {
    const value = formatAttributes(attributes, this.leaseFormat);
    return { key: this.#leaseKey(network, subnets), value, ...(!isReservation && { ttl: LEASE_TTL_SECONDS }) };
  }

  #lease(node: KeyNode): Lease | undefined {
    return leaseOfNode(node, this.#reader, arrivalTime(this.#clock));
  }

  #writtenLease(node: KeyNode): Lease {
    const lease = this.#lease(node);
    if (lease === undefined) throw new Error(`cannot read back ${node.key}`);
    return lease;
  }

  #home(network: NetworkName): string {
    return network === "" ? this.#prefix : `${this.#prefix}/${network}`;
  }

  #configKey(network: NetworkName): string {
    return `${this.#home(network)}/config`;
  }

  #leasesKey(network: NetworkName): string {
    return `${this.#home(network)}/subnets`;
  }

  #leaseKey(network: NetworkName, subnets: LeaseSubnets): string {
    return `${this.#leasesKey(network)}/${formatLeaseKey(subnets)}`;
  }
}

type WriteOutcome = { readonly node: KeyNode; readonly refusal?: undefined } | KeyAnswer;

function holds(node: KeyNode, { value, ttl }: Pick<KeyWrite, "value" | "ttl">): boolean {
  return node.value === value && (node.ttl === undefined) === (ttl === undefined);
}
