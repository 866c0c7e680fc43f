import { type Address, equalAddress, type Family, formatAddress, tryParseAddress } from "../../ip/address.ts";
import { containsPrefix, equalPrefix, formatPrefix, type Prefix } from "../../ip/prefix.ts";
import { LeaseLostError, StoreUnavailableError } from "../../lease/errors.ts";
import { subnetsOf as subnetsOfLease } from "../../lease/halves.ts";
import type { Lease, LeaseAttributes } from "../../lease/lease.ts";
import type { LeaseRequest } from "../../lease/subnet-manager.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { type BackoffRange, backoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { InvalidConfigError } from "../../lib/errors.ts";
import type { Logger } from "../../lib/logger.ts";
import type { AnnotationKeys } from "./annotation-keys.ts";
import type { NodeFacts } from "./node.ts";
import { annotationChanges, leaseOf, subnetsOf } from "./node-lease.ts";
import type { OwnNode } from "./own-node.ts";

/** Between two looks at a podCIDR that does not fit the config: a mistake that all hosts of a cluster make together. */
const MISFIT: BackoffRange = { first: 1_000, most: 30_000 };
/** Subnets must have room for two addresses besides the first and the last. */
const LONGEST_SUBNET: Readonly<Record<Family, number>> = { 4: 30, 6: 126 };
/** The config's field that names the range of a family. */
const NETWORK_FIELD: Readonly<Record<Family, string>> = { 4: "Network", 6: "IPv6Network" };

const OVERWRITES = { 4: "publicIPOverwrite", 6: "publicIPv6Overwrite" } as const;

type Subnets = Pick<Lease, "subnet" | "ipv6Subnet">;

/** As `--public-ip` and `--public-ipv6`, but per node. */
export interface AnnotatedPublicIPs {
  readonly publicIP?: Address;
  readonly publicIPv6?: Address;
}

export interface OwnNodeLeaseParts {
  /** For messages: `Kubernetes at https://10.96.0.1:443`. */
  readonly store: string;
  readonly annotations: AnnotationKeys;
  readonly netConfigPath: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random: () => number;
}

/** The lease that our node stands for: its podCIDRs, and what we write of ourselves into its annotations. */
export class OwnNodeLease {
  readonly #node: OwnNode;
  readonly #parts: OwnNodeLeaseParts;
  /** How often in a row our podCIDRs were of no use. */
  #misfits = 0;
  #toldOfFamilies = false;

  constructor(node: OwnNode, parts: OwnNodeLeaseParts) {
    this.#node = node;
    this.#parts = parts;
  }

  /** Waits until the cluster has given the node a podCIDR. @throws {InvalidConfigError} if it is none that the config allows */
  async acquire(request: LeaseRequest, options: Abortable): Promise<Lease> {
    const { clock, random, store } = this.#parts;
    if (this.#misfits > 0) await clock.sleep(backoff(this.#misfits, MISFIT, random), options);
    const node = await this.#node.assigned(options);
    this.#misfits++;
    const subnets = this.#fitting(node, request);
    this.#misfits = 0;
    const attributes = this.#overwritten(node, request.attributes(leaseIfReadable(node)));
    const written = await this.#write(node, subnets, attributes, options);
    if (written === undefined) throw new StoreUnavailableError(store, `node ${node.name} was just removed`);
    return written;
  }

  /** @throws {LeaseLostError} if the node has other subnets now, or another flannel says that the node is its own */
  async update(lease: Lease, attributes: LeaseAttributes, options: Abortable): Promise<Lease> {
    const lost = (reason: string) => new LeaseLostError(lease.subnet, reason);
    const node = await this.#node.get(options);
    if (node === undefined) throw lost("our node is gone");
    const { ipv4, ipv6 } = subnetsOf(node);
    const isThere = (subnet: Prefix) => [ipv4, ipv6].some((each) => each !== undefined && equalPrefix(each, subnet));
    if (!subnetsOfLease(lease).every(isThere)) throw lost(`our node has ${node.podCIDRs.join(", ") || "none"} now`);
    const stored = leaseIfReadable(node)?.attributes;
    const other = stored && otherHolder(stored, [lease.attributes, attributes]);
    if (other !== undefined) throw lost(`${formatAddress(other)} holds it now`);
    const written = await this.#write(node, lease, attributes, options);
    if (written === undefined) throw lost("our node is gone");
    return written;
  }

  /** What administrators wrote for this node; nothing of what is nonsense. */
  async annotatedPublicIPs(options: Abortable): Promise<AnnotatedPublicIPs> {
    const node = await this.#node.get(options);
    if (node === undefined) return {};
    const publicIP = this.#addressIn(node, "nodePublicIP", 4);
    const publicIPv6 = this.#addressIn(node, "nodePublicIPv6", 6);
    return { ...(publicIP && { publicIP }), ...(publicIPv6 && { publicIPv6 }) };
  }

  /** Of the families that the network and the host have. @throws {InvalidConfigError} saying what a person must change */
  #fitting(node: NodeFacts, { config, publicIPv6 }: LeaseRequest): Subnets {
    const subnets = subnetsOf(node);
    const fitting = (network: Prefix) => this.#fittingOne(node, subnets[`ipv${network.address.family}`], network);
    const subnet = fitting(config.network);
    if (config.ipv6 !== undefined && publicIPv6 !== undefined)
      return { subnet, ipv6Subnet: fitting(config.ipv6.network) };
    const unused = subnet.address.family === 4 ? subnets.ipv6 : subnets.ipv4;
    if (unused !== undefined && !this.#toldOfFamilies)
      this.#parts.logger.info("our node has podCIDRs of both families; only one of them is used", {
        used: formatPrefix(subnet),
        unused: formatPrefix(unused),
      });
    this.#toldOfFamilies ||= unused !== undefined;
    return { subnet };
  }

  #fittingOne({ name, podCIDRs }: NodeFacts, subnet: Prefix | undefined, network: Prefix): Prefix {
    const { family } = network.address;
    if (subnet === undefined)
      throw new InvalidConfigError(
        "spec.podCIDRs",
        `node ${name} has no IPv${family} podCIDR, only ${podCIDRs.join(", ")}`,
      );
    if (!containsPrefix(network, subnet))
      throw new InvalidConfigError(
        NETWORK_FIELD[family],
        `${formatPrefix(network)} in ${this.#parts.netConfigPath} does not hold ${formatPrefix(subnet)}, the podCIDR of node ${name}: it must be the cluster's --cluster-cidr`,
      );
    if (subnet.length > LONGEST_SUBNET[family])
      throw new InvalidConfigError(
        "spec.podCIDRs",
        `${formatPrefix(subnet)} of node ${name} leaves no room for pods: at most /${LONGEST_SUBNET[family]}`,
      );
    return subnet;
  }

  /** With the public IPs that an administrator wrote instead. */
  #overwritten(node: NodeFacts, attributes: LeaseAttributes): LeaseAttributes {
    const overwrite = (address: Address) =>
      this.#addressIn(node, OVERWRITES[address.family], address.family) ?? address;
    const { publicIP, publicIPv6 } = attributes;
    return {
      ...attributes,
      publicIP: overwrite(publicIP),
      ...(publicIPv6 !== undefined && { publicIPv6: overwrite(publicIPv6) }),
    };
  }

  #addressIn({ name, annotations }: NodeFacts, field: keyof AnnotationKeys, family: Family): Address | undefined {
    const text = annotations[field];
    if (text === undefined || text === "") return undefined;
    const address = tryParseAddress(text);
    if (address?.family === family) return address;
    this.#parts.logger.warn(`an annotation of our node is no IPv${family} address and is ignored`, {
      node: name,
      annotation: this.#parts.annotations[field],
      value: text.slice(0, 100),
    });
    return undefined;
  }

  /** The lease as it is written; undefined if the node is gone. Nothing is sent if the node says all of it. */
  async #write(
    node: NodeFacts,
    { subnet, ipv6Subnet }: Subnets,
    attributes: LeaseAttributes,
    options: Abortable,
  ): Promise<Lease | undefined> {
    const changes = annotationChanges(node, attributes, this.#parts.annotations);
    const written = changes === undefined ? node : await this.#node.annotate(changes, options);
    if (written === undefined) return undefined;
    const subnets = { subnet, ...(ipv6Subnet !== undefined && { ipv6Subnet }) };
    return { ...subnets, attributes, isReservation: false, revision: written.version };
  }
}

function leaseIfReadable(node: NodeFacts): Lease | undefined {
  try {
    return leaseOf(node, true);
  } catch (error) {
    if (error instanceof InvalidConfigError) return undefined; // it is about to be written anew
    throw error;
  }
}

/** An address in what the node says that is neither what we wrote before nor what we write now. */
function otherHolder(stored: LeaseAttributes, ours: readonly LeaseAttributes[]): Address | undefined {
  const addressesOf = ({ publicIP, publicIPv6 }: LeaseAttributes) =>
    publicIPv6 === undefined ? [publicIP] : [publicIP, publicIPv6];
  const known = ours.flatMap(addressesOf);
  return addressesOf(stored).find((address) => {
    const alike = known.filter(({ family }) => family === address.family);
    return alike.length > 0 && !alike.some((each) => equalAddress(each, address));
  });
}
