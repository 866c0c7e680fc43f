// For tests only: what the tests of a registry work with.
import { expect } from "vitest";
import { parseAddress } from "../../ip/address.ts";
import { parsePrefix } from "../../ip/prefix.ts";
import { StoreUnavailableError } from "../../lease/errors.ts";
import { type Cursor, LEASE_TTL, type Lease, type LeaseAttributes, type NetworkName } from "../../lease/lease.ts";
import { type Clock, systemClock } from "../../lib/clock.ts";
import { RecordingLogger } from "../../lib/recording-logger.ts";
import type { LeaseClaim, LeaseEvents, Registry } from "../registry.ts";
import { Follower } from "./follower.ts";
import type { RegistryFixture, RegistryHarness } from "./registry-harness.ts";

export const NETWORK = "";
export const ATTRIBUTES: LeaseAttributes = {
  publicIP: parseAddress("192.0.2.1"),
  backendType: "vxlan",
  backendData: { VtepMAC: "66:72:44:0d:7e:1a" },
};
/** What another host writes. */
export const OTHERS: LeaseAttributes = { publicIP: parseAddress("192.0.2.2"), backendType: "host-gw" };
export const CONFIG = '{ "Network": "10.5.0.0/16",\n  "Backend": {"Type": "vxlan"} }\n';
/** Ample for a real server on a slow machine; a store that needs it at all is broken. */
export const PATIENCE = 20_000;
/** For what is to be over within 100 ms: three times that, for a machine that others load. */
export const AT_ONCE = 300;

export const subnet = (number: number) => parsePrefix(`10.5.${number}.0/24`);
export const claim = (number: number, attributes = ATTRIBUTES, isReservation = false): LeaseClaim => ({
  subnet: subnet(number),
  attributes,
  isReservation,
});

/** What one test works with. */
export interface Bench<Fixture extends RegistryFixture> {
  readonly fixture: Fixture;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly logger: RecordingLogger;
  readonly options: { readonly signal: AbortSignal };
  readonly second: () => Promise<Registry>;
  readonly follow: (registry: Registry, since: Cursor, network?: NetworkName) => Follower<LeaseEvents>;
  /** The cursor of a listing. */
  readonly now: (network?: NetworkName) => Promise<Cursor>;
  readonly expectTtl: (lease: Lease | undefined) => void;
}

/** Makes a test of `body`: with a store of its own, and nothing left behind. */
export type MakeTest<Fixture extends RegistryFixture> = (
  body: (bench: Bench<Fixture>) => Promise<void>,
) => () => Promise<void>;

export function makeTest<Fixture extends RegistryFixture>(harness: RegistryHarness<Fixture>): MakeTest<Fixture> {
  const clock = harness.clock ?? systemClock;
  return (body) => async () => {
    const logger = new RecordingLogger();
    await using cleanup = new AsyncDisposableStack();
    const fixture = cleanup.use(await harness.open({ logger }));
    const { registry } = fixture;
    const controller = new AbortController();
    cleanup.defer(() => controller.abort(new Error("the test is over")));
    const options = { signal: controller.signal };
    await body({
      fixture,
      registry,
      clock,
      logger,
      options,
      second: async () => cleanup.use(await fixture.openSecond()),
      follow: (watched, since, network = NETWORK) =>
        cleanup.use(new Follower((signal) => watched.watchLeases(network, since, { signal }), PATIENCE)),
      now: async (network = NETWORK) => (await registry.listLeases(network, options)).cursor,
      expectTtl: (lease) => expectTtl(lease, clock),
    });
  };
}

function expectTtl(lease: Lease | undefined, clock: Clock): void {
  const left = (lease?.expiresAt ?? Number.NaN) - clock.now();
  expect(left).toBeGreaterThan(LEASE_TTL - 60_000);
  expect(left).toBeLessThanOrEqual(LEASE_TTL + 1_000);
  const shown = (lease?.expiration?.getTime() ?? Number.NaN) - clock.wallClock().getTime();
  expect(Math.abs(shown - left)).toBeLessThan(60_000);
}

export type Call = readonly [name: string, run: (options: { readonly signal: AbortSignal }) => Promise<unknown>];

export function calls(registry: Registry, lease: Lease, since: Cursor): readonly Call[] {
  return [
    ["getConfig", (options) => registry.getConfig(NETWORK, options)],
    ["setConfig", (options) => registry.setConfig(NETWORK, CONFIG, options)],
    ["listLeases", (options) => registry.listLeases(NETWORK, options)],
    ["getLease", (options) => registry.getLease(NETWORK, lease.subnet, options)],
    ["createLease", (options) => registry.createLease(NETWORK, claim(200), options)],
    ["updateLease", (options) => registry.updateLease(NETWORK, lease, lease, options)],
    ["deleteLease", (options) => registry.deleteLease(NETWORK, lease, options)],
    ["watchLeases", (options) => drain(registry.watchLeases(NETWORK, since, options))],
  ];
}

export async function drain(batches: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of batches);
}

export function eventsOf(batches: readonly LeaseEvents[]): LeaseEvents["events"] {
  return batches.flatMap((batch) => batch.events);
}

export function essence(event: LeaseEvents["events"][number]): unknown {
  return event.type === "added" ? [event.lease.subnet, event.lease.revision] : event.subnet;
}

export function bySubnet(leases: readonly Lease[]): readonly Lease[] {
  return leases.toSorted((a, b) => Number(a.subnet.address.value - b.subnet.address.value));
}

/** What the promise rejects with. */
export async function failure(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it succeeded");
}

/** The result of `work`, tried until the store is there again. */
export async function eventually<T>(work: () => Promise<T>): Promise<T> {
  for (const end = performance.now() + PATIENCE; ; ) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof StoreUnavailableError) || performance.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/** The error that `work` resolves to, tried until it is none of this class. */
export async function eventuallyNot(
  transient: typeof StoreUnavailableError,
  work: () => Promise<unknown>,
): Promise<unknown> {
  for (const end = performance.now() + PATIENCE; ; ) {
    const error = await work();
    if (!(error instanceof transient) || performance.now() > end) return error;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
