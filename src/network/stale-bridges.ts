import { containsAddress, containsPrefix, formatPrefix, type Prefix } from "../ip/prefix.ts";
import type { Kernel, Link, LinkAddress } from "../kernel/kernel.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Clock, Milliseconds } from "../lib/clock.ts";
import { describeError, isAbort } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import { MADE_BY_FLANNEL } from "./host-links.ts";

/** Container runtimes make their bridge at the first container, and change links often. */
const LOOK_AFTER: Milliseconds = 2_000;

/** A bridge that a container runtime gave an address of a subnet that is another's now, or nobody's. */
export interface StaleBridge {
  readonly name: string;
  readonly address: Prefix;
}

/** @param networks the present one and former ones of this host */
export function staleBridges(
  subnet: Prefix,
  networks: readonly Prefix[],
  links: readonly Link[],
  addresses: readonly LinkAddress[],
): readonly StaleBridge[] {
  const bridges = links.filter(({ name, kind }) => kind === "bridge" && !MADE_BY_FLANNEL.test(name));
  return bridges.flatMap(({ name }) =>
    addresses
      .filter(
        ({ link, address }) => link === name && networks.some((network) => containsAddress(network, address.address)),
      )
      .filter(({ address }) => !containsPrefix(subnet, address))
      .map(({ address }) => ({ name, address })),
  );
}

export interface BridgeWatchOptions extends Abortable {
  readonly kernel: Kernel;
  readonly subnet: Prefix;
  readonly networks: readonly Prefix[];
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Names each once, when it is found, and again if it was mended meanwhile. Neither Docker nor CNI mends its bridge by itself. */
export async function watchBridges(options: BridgeWatchOptions): Promise<never> {
  const { kernel, subnet, networks, clock, logger, signal } = options;
  let told: ReadonlySet<string> = new Set();
  let news = Promise.withResolvers<void>();
  using _watch = kernel.watchLinks(() => news.resolve());
  const onAbort = () => news.resolve();
  signal.addEventListener("abort", onAbort, { once: true });
  for (;;) {
    try {
      const [links, addresses] = await Promise.all([kernel.listLinks({ signal }), kernel.listAddresses({ signal })]);
      const found = new Map(
        staleBridges(subnet, networks, links, addresses).map((each) => [
          `${each.name} ${formatPrefix(each.address)}`,
          each,
        ]),
      );
      for (const [key, { name, address }] of found)
        if (!told.has(key))
          logger.warn("a bridge has an address of a subnet that is not this host's: its containers cannot be reached", {
            bridge: name,
            address,
            subnet,
            remedy: `stop its containers, remove it (ip link del ${name}), and restart the container runtime`,
          });
      told = new Set(found.keys());
    } catch (error) {
      if (isAbort(error, signal)) throw error;
      logger.debug("cannot look at the bridges", { reason: describeError(error) });
    }
    await news.promise;
    news = Promise.withResolvers();
    await clock.sleep(LOOK_AFTER, { signal });
  }
}
