import type { Prefix } from "../../ip/prefix.ts";
import { containsAddress, formatPrefix } from "../../ip/prefix.ts";
import type { Firewall } from "../../kernel/firewall/firewall.ts";
import type { Probe } from "../../kernel/firewall/probe.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import { describeError } from "../../lib/errors.ts";
import type { Logger } from "../../lib/logger.ts";

/** Others write their rules in several steps. */
const SETTLES: Milliseconds = 1_000;
/** A look may take at most this share of a processor: long listings are read less often. */
const SHARE = 0.05;

export interface ObstacleOptions extends Abortable {
  readonly firewall: Firewall;
  readonly kernel: Kernel;
  readonly network: Prefix;
  readonly subnet: Prefix;
  /** The link that leads to other hosts' pods. */
  readonly link: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Says which rule of others stops the overlay's packets where ours cannot help: after a drop or a reject in another chain of nftables
 * nobody is asked any more. Looks whenever others changed something. Ends only by the signal.
 */
export async function watchObstacles(options: ObstacleOptions): Promise<never> {
  const { firewall, network, clock, logger, signal } = options;
  let wake = () => {};
  let isChanged = true;
  using _watch = firewall.watchOthers(() => {
    isChanged = true;
    wake();
  });
  signal.addEventListener("abort", () => wake(), { once: true });
  let said = "";
  for (;;) {
    signal.throwIfAborted();
    isChanged = false;
    const start = clock.now();
    try {
      const found = await firewall.blockingRule(await probes(options), { signal });
      const text = found === undefined ? "" : `${found.table} ${found.chain}: ${found.rule}`;
      if (found !== undefined && text !== said)
        logger.warn("somebody's rule stops packets of the overlay, and no rule of ours can let them pass", {
          network: formatPrefix(network),
          ...found,
        });
      if (found === undefined && said !== "") logger.info("nobody's rule stops packets of the overlay any more");
      said = text;
    } catch (error) {
      signal.throwIfAborted();
      logger.debug("cannot look for rules that stop packets of the overlay", { reason: describeError(error) });
    }
    await clock.sleep(Math.max(SETTLES, (clock.now() - start) / SHARE), { signal });
    if (!isChanged)
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    await clock.sleep(SETTLES, { signal });
  }
}

/** A pod's packet to another host's pod, and one back. */
async function probes({ kernel, network, subnet, link, signal }: ObstacleOptions): Promise<readonly Probe[]> {
  const addresses = await kernel.listAddresses({ signal });
  const bridge = addresses.find((row) => row.link !== link && containsAddress(subnet, row.address.address))?.link;
  return [
    { source: subnet, destination: network, from: bridge, to: link },
    { source: network, destination: subnet, from: link, to: bridge },
  ];
}
