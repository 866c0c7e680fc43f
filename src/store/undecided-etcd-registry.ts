import type { Prefix } from "../ip/prefix.ts";
import { ConfigNotFoundError } from "../lease/errors.ts";
import type { Cursor, Lease, NetworkName } from "../lease/lease.ts";
import type { LeaseFormat } from "../lease/subnet-manager.ts";
import type { Abortable } from "../lib/abortable.ts";
import type {
  LeaseChange,
  LeaseClaim,
  LeaseEvents,
  LeaseListing,
  NetworkListing,
  Registry,
  StoredConfig,
} from "./registry.ts";

/** Looks again which API is flannel's; undefined as long as neither holds a config. */
export type Choose = (options: Abortable) => Promise<Registry | undefined>;

/**
 * An etcd that holds no config in either API: it is taken for v3, until a config appears, in whichever of the two.
 * From then on it is that one, for good.
 */
export class UndecidedEtcdRegistry implements Registry {
  readonly #v3: Registry;
  readonly #choose: Choose;
  readonly #takeV3: (options: Abortable) => Promise<void>;
  readonly #dispose: () => Promise<void>;
  #chosen: Registry | undefined;

  /** @param deps.takeV3 remembers v3 as chosen, once a config was written there */
  constructor(deps: {
    readonly v3: Registry;
    readonly choose: Choose;
    readonly takeV3: (options: Abortable) => Promise<void>;
    readonly dispose: () => Promise<void>;
  }) {
    this.#v3 = deps.v3;
    this.#choose = deps.choose;
    this.#takeV3 = deps.takeV3;
    this.#dispose = deps.dispose;
  }

  get name(): string {
    return this.#present.name;
  }

  get leaseFormat(): LeaseFormat {
    return this.#present.leaseFormat;
  }

  async getConfig(network: NetworkName, options: Abortable): Promise<StoredConfig> {
    this.#chosen ??= await this.#choose(options);
    return await this.#present.getConfig(network, options);
  }

  async setConfig(
    network: NetworkName,
    text: string,
    options: Abortable & { readonly expected?: bigint },
  ): Promise<void> {
    this.#chosen ??= await this.#choose(options);
    await this.#present.setConfig(network, text, options);
    if (this.#chosen !== undefined) return;
    this.#chosen = this.#v3;
    await this.#takeV3(options);
  }

  async listNetworks(options: Abortable): Promise<NetworkListing> {
    this.#chosen ??= await this.#choose(options);
    return await this.#present.listNetworks(options);
  }

  async listLeases(
    network: NetworkName,
    options: Abortable & { readonly withExpirations?: boolean },
  ): Promise<LeaseListing> {
    return await this.#present.listLeases(network, options);
  }

  async getLease(network: NetworkName, subnet: Prefix, options: Abortable): Promise<Lease | undefined> {
    return await this.#present.getLease(network, subnet, options);
  }

  async createLease(network: NetworkName, claim: LeaseClaim, options: Abortable): Promise<Lease> {
    return await this.#decided(network).createLease(network, claim, options);
  }

  async updateLease(network: NetworkName, lease: Lease, change: LeaseChange, options: Abortable): Promise<Lease> {
    return await this.#decided(network).updateLease(network, lease, change, options);
  }

  async deleteLease(network: NetworkName, lease: Lease, options: Abortable): Promise<void> {
    await this.#decided(network).deleteLease(network, lease, options);
  }

  watchLeases(network: NetworkName, since: Cursor, options: Abortable): AsyncIterable<LeaseEvents> {
    return this.#present.watchLeases(network, since, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#dispose();
  }

  get #present(): Registry {
    return this.#chosen ?? this.#v3;
  }

  /** Who writes leases has seen a config. */
  #decided(network: NetworkName): Registry {
    if (this.#chosen === undefined) throw new ConfigNotFoundError(network === "" ? "config" : `${network}/config`);
    return this.#chosen;
  }
}
