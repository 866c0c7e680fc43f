// For tests only: what the tests of a subnet manager work with.
import { type Address, formatAddress, parseAddress } from "../../ip/address.ts";
import { equalPrefix, formatPrefix, type Prefix } from "../../ip/prefix.ts";
import type { Cursor, Lease, LeaseAttributes, LeaseUpdate } from "../../lease/lease.ts";
import { parseNetworkConfig } from "../../lease/network-config.ts";
import type { LeaseRequest, SubnetManager } from "../../lease/subnet-manager.ts";
import { RecordingLogger } from "../../lib/recording-logger.ts";
import { Follower } from "./follower.ts";
import { PATIENCE } from "./registry-bench.ts";
import type { SubnetManagerFixture, SubnetManagerHarness } from "./subnet-manager-harness.ts";

export const CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';

/** The n-th host's address. */
export const host = (number: number) => parseAddress(`192.0.2.${number}`);

export function attributesOf(publicIP: Address): LeaseAttributes {
  return { publicIP, backendType: "vxlan", backendData: { of: formatAddress(publicIP) } };
}

/** What one test works with. */
export interface ManagerBench<Fixture extends SubnetManagerFixture> {
  readonly fixture: Fixture;
  readonly manager: SubnetManager;
  readonly network: string;
  readonly logger: RecordingLogger;
  readonly options: { readonly signal: AbortSignal };
  readonly second: () => Promise<SubnetManager>;
  readonly configure: (text?: string) => Promise<void>;
  /** Takes a lease for a host. */
  readonly take: (
    publicIP: Address,
    request?: Partial<LeaseRequest> & { readonly through?: SubnetManager; readonly configText?: string },
  ) => Promise<Lease>;
  readonly follow: (manager: SubnetManager, since?: Cursor) => Follower<LeaseUpdate>;
}

export type MakeManagerTest<Fixture extends SubnetManagerFixture> = (
  body: (bench: ManagerBench<Fixture>) => Promise<void>,
) => () => Promise<void>;

export function makeManagerTest<Fixture extends SubnetManagerFixture>(
  harness: SubnetManagerHarness<Fixture>,
): MakeManagerTest<Fixture> {
  return (body) => async () => {
    const logger = new RecordingLogger();
    await using cleanup = new AsyncDisposableStack();
    const fixture = cleanup.use(await harness.open({ logger }));
    const { manager, network } = fixture;
    const controller = new AbortController();
    cleanup.defer(() => controller.abort(new Error("the test is over")));
    const options = { signal: controller.signal };
    let config = CONFIG;
    await body({
      fixture,
      manager,
      network,
      logger,
      options,
      second: async () => cleanup.use(await fixture.openSecond()),
      configure: async (text = CONFIG) => {
        config = text;
        await fixture.setConfig(text);
      },
      take: async (publicIP, { through = manager, configText = config, ...request } = {}) =>
        await through.acquireLease(
          network,
          {
            publicIP,
            config: parseNetworkConfig(configText),
            attributes: () => attributesOf(publicIP),
            previous: [],
            ...request,
          },
          options,
        ),
      follow: (watched, since) =>
        cleanup.use(
          new Follower(
            (signal) => watched.watchLeases(network, { signal, ...(since !== undefined && { since }) }),
            PATIENCE,
          ),
        ),
    });
  };
}

/** What the updates leave standing, as texts: `10.5.1.0/24 192.0.2.1`. */
export function standing(updates: readonly LeaseUpdate[]): readonly string[] {
  let leases = new Map<string, string>();
  const entry = (lease: Lease) => [formatPrefix(lease.subnet), formatAddress(lease.attributes.publicIP)] as const;
  for (const update of updates)
    if (update.type === "snapshot") leases = new Map(update.leases.map(entry));
    else
      for (const event of update.events)
        if (event.type === "added") leases.set(...entry(event.lease));
        else leases.delete(formatPrefix(event.subnet));
  return [...leases].map((pair) => pair.join(" ")).toSorted();
}

/** Whether the updates tell of this very revision of a lease. */
export function tellsOf(lease: Lease): (updates: readonly LeaseUpdate[]) => boolean {
  return (updates) =>
    updates.some((update) =>
      (update.type === "snapshot"
        ? update.leases
        : update.events.flatMap((event) => (event.type === "added" ? [event.lease] : []))
      ).some((each) => each.revision === lease.revision && equalPrefix(each.subnet, lease.subnet)),
    );
}

/** Whether the updates tell that a subnet was freed. */
export function tellsOfRemoval(subnet: Prefix): (updates: readonly LeaseUpdate[]) => boolean {
  return (updates) =>
    updates.some(
      (update) =>
        update.type === "events" &&
        update.events.some((event) => event.type === "removed" && equalPrefix(event.subnet, subnet)),
    );
}
