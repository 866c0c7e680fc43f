import { formatAddress } from "../ip/address.ts";
import { formatPrefix } from "../ip/prefix.ts";
import type { LeaseAttributes } from "../lease/lease.ts";
import { type LeaseSubnets, parseAttributes, parseLeaseKey } from "../lease/lease-codec.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";

export type LeaseEntry = LeaseSubnets & { readonly attributes: LeaseAttributes };

/** A store full of nonsense must not fill our memory too: after this many different complaints they are forgotten, and may come again. */
const MOST_COMPLAINTS = 10_000;

/** A key may be as long as anyone likes, but not in our log. Its end says most. */
const LONGEST_KEY = 300;

/** Reads leases as stores keep them; what makes no sense is logged once with its key and the reason, and is `undefined`. */
export class EntryReader {
  readonly #logger: Logger;
  readonly #complaints = new Set<string>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /**
   * @param key the last part of the entry's key, `10.5.34.0-24`
   * @param shownKey the whole key, for the log
   */
  read(key: string, value: string, shownKey = key): LeaseEntry | undefined {
    try {
      const { subnet, ipv6Subnet } = parseLeaseKey(key);
      const attributes = parseAttributes(value);
      if (attributes.publicIP.family !== subnet.address.family)
        throw new InvalidConfigError(
          "PublicIP",
          `must lead to the subnet ${formatPrefix(subnet)}, and ${formatAddress(attributes.publicIP)} is of the other family`,
        );
      return ipv6Subnet === undefined ? { subnet, attributes } : { subnet, ipv6Subnet, attributes };
    } catch (error) {
      if (!(error instanceof InvalidConfigError)) throw error;
      this.#complain(shownKey, error.message);
      return undefined;
    }
  }

  /** The subnets that a removed entry's key names; a key that names none is not worth a line when it goes. */
  readKey(key: string): LeaseSubnets | undefined {
    try {
      return parseLeaseKey(key);
    } catch (error) {
      if (!(error instanceof InvalidConfigError)) throw error;
      return undefined;
    }
  }

  #complain(wholeKey: string, reason: string): void {
    const key = wholeKey.slice(-LONGEST_KEY);
    const complaint = JSON.stringify([key, reason]);
    if (this.#complaints.has(complaint)) return;
    if (this.#complaints.size >= MOST_COMPLAINTS) this.#complaints.clear();
    this.#complaints.add(complaint);
    this.#logger.warn("entry in the store makes no sense and is ignored", { key, reason });
  }
}
