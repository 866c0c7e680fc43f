import { type Address, isLinkLocal } from "../../ip/address.ts";
import type { Kernel, LinkAddress } from "../../kernel/kernel.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import type { Logger } from "../../lib/logger.ts";
import { Mailbox } from "../../lib/mailbox.ts";
import { untilItWorks } from "../../lib/until-it-works.ts";

/** A pod that comes or goes tells of its device a dozen times. */
const BURST: Milliseconds = 500;

/** Addresses of this host that a packet from elsewhere might claim to come from. IPv6's link-local ones are refused to everybody. */
export function ownAddresses(addresses: readonly LinkAddress[]): readonly Address[] {
  return addresses
    .map(({ address }) => address.address)
    .filter((address) => address.family === 4 || !isLinkLocal(address)); // each device has one: they come and go with pods
}

interface FollowOptions extends Abortable {
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Tells of all addresses whenever they may be others than when the backend was opened. */
export async function followOwnAddresses(
  kernel: Pick<Kernel, "listAddresses" | "watchLinks">,
  onChange: (addresses: readonly Address[]) => void,
  { clock, logger, signal }: FollowOptions,
): Promise<never> {
  const changes = new Mailbox<"changed">();
  using _watch = kernel.watchLinks(() => changes.put("changed"));
  for (;;) {
    await clock.sleep(BURST, { signal });
    const addresses = await untilItWorks(() => kernel.listAddresses({ signal }), "own addresses cannot be listed", {
      clock,
      logger,
      signal,
    });
    onChange(ownAddresses(addresses));
    await changes.takeAll({ signal });
  }
}
