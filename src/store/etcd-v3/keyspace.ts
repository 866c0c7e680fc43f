import type { Prefix } from "../../ip/prefix.ts";
import type { NetworkName } from "../../lease/lease.ts";
import { formatLeaseKey, type LeaseSubnets } from "../../lease/lease-codec.ts";

/** From `first` up to but not including `end`, in byte order. */
export interface KeyRange {
  readonly first: string;
  readonly end: string;
}

/** Where later releases keep things: `<prefix>/config`, `<prefix>/subnets/10.5.34.0-24`; named networks below `<prefix>/<network>`. */
export class Keyspace {
  readonly #prefix: string;

  /** @param prefix a clean path, absolute or not: later releases keep keys as the prefix was given */
  constructor(prefix: string) {
    this.#prefix = prefix === "/" ? "" : prefix;
  }

  config(network: NetworkName): string {
    return `${this.#home(network)}/config`;
  }

  /** Everything that is flannel's. */
  all(): KeyRange {
    return below(this.#prefix);
  }

  lease(network: NetworkName, subnets: LeaseSubnets): string {
    return `${this.leases(network).first}${formatLeaseKey(subnets)}`;
  }

  /** Every lease of the network, and nothing of a network whose name only begins alike: the range begins and ends with the slash. */
  leases(network: NetworkName): KeyRange {
    return below(`${this.#home(network)}/subnets`);
  }

  /** Every lease on this IPv4 subnet: its key alone or followed by `&` and an IPv6 subnet. */
  leasesOn(network: NetworkName, subnet: Prefix): KeyRange {
    const first = this.lease(network, { subnet });
    return { first, end: `${first}'` }; // the character after the &
  }

  #home(network: NetworkName): string {
    return network === "" ? this.#prefix : `${this.#prefix}/${network}`;
  }
}

function below(directory: string): KeyRange {
  return { first: `${directory}/`, end: `${directory}0` }; // the character after the /
}
