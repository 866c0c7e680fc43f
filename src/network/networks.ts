import { join } from "node:path";
import type { NetworkName } from "../lease/lease.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { BackoffRange } from "../lib/backoff.ts";
import { backoff } from "../lib/backoff.ts";
import { isAbort } from "../lib/errors.ts";
import { Scope } from "../lib/scope.ts";
import type { Handover } from "../operate/handover.ts";
import { HostStateFile } from "./host-state.ts";
import { type NetworkOptions, runNetwork } from "./network.ts";
import { NetworkClaims } from "./network-claims.ts";

/** After a failure of ours, which ought not to be. */
const AGAIN: BackoffRange = { first: 1_000, most: 60_000 };

export interface NetworksOptions
  extends Omit<NetworkOptions, "name" | "subnetFile" | "state" | "claims" | "keeper" | "onReady"> {
  readonly names: readonly NetworkName[];
  /** `<name>.env` for each network. */
  readonly subnetDir: string;
  readonly stateDir: string;
  /** What takes a network's descriptors to the next daemon. */
  readonly openKeeper: (network: NetworkName) => Handover;
}

/**
 * Several networks on one host, each its own life: one that is broken, missing or slow holds up no other, and one whose config appears
 * later is joined then. Ends only by the signal.
 */
export async function runNetworks(options: NetworksOptions, { signal }: Abortable): Promise<void> {
  const claims = new NetworkClaims();
  await using scope = new Scope(signal);
  for (const name of options.names) scope.spawn((signal) => liveOn(name, options, claims, { signal }));
  await scope.join();
}

async function liveOn(
  name: NetworkName,
  options: NetworksOptions,
  claims: NetworkClaims,
  { signal }: Abortable,
): Promise<never> {
  const { subnetDir, stateDir, openKeeper, names: _, ...shared } = options;
  const logger = options.logger.child({ network: name });
  const subnetFile = join(subnetDir, `${name}.env`);
  for (let failures = 1; ; failures++) {
    try {
      await using keeper = openKeeper(name);
      const state = new HostStateFile(stateDir, subnetFile, logger);
      const onReady = () => void keeper.ready({ signal }).catch(() => {}); // rejects only by the signal
      await runNetwork({ ...shared, name, subnetFile, state, claims, keeper, logger, onReady }, { signal });
    } catch (error) {
      if (isAbort(error, signal)) throw error;
      logger.error("this network failed; the others go on, and it is tried again", {
        error,
        stack: error instanceof Error ? error.stack : undefined,
      });
    } finally {
      claims.release(name);
    }
    await options.clock.sleep(backoff(failures, AGAIN), { signal });
  }
}
