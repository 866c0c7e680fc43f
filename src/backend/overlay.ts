import type { RouteClaim } from "../cloud/cloud.ts";
import type { Layer } from "../dataplane/table.ts";
import type { Family } from "../ip/address.ts";
import type { MacAddress } from "../ip/mac-address.ts";
import { halfOf } from "../lease/halves.ts";
import type { Lease, LeaseAttributes } from "../lease/lease.ts";
import { type NetworkConfig, rangesOf, type SubnetRange } from "../lease/network-config.ts";
import type { Abortable } from "../lib/abortable.ts";
import { InvalidConfigError } from "../lib/errors.ts";
import { Scope } from "../lib/scope.ts";
import type { Backend, BackendType, Desired, ExternalInterface, OpenRequest, PreparedBackend } from "./backend.ts";

/** The device's MAC in each family. */
export type MacByFamily = Readonly<Partial<Record<Family, MacAddress>>>;

export interface OverlayRequest<Options> extends Omit<OpenRequest<Options>, "external" | "rememberedMac"> {
  /** One for each of the network's families. */
  readonly externals: readonly ExternalInterface[];
  readonly rememberedMacs: MacByFamily;
}

export interface PreparedOverlay {
  /** What our lease must say, given what it says already, if we have one. */
  attributes(existing: Lease | undefined): LeaseAttributes;
  open(lease: Lease): Overlay;
  /** Lets go what it took over, if it is never opened after all. */
  abandon(): void;
}

/** One family of an overlay. */
export interface OverlayPart {
  readonly range: SubnetRange;
  readonly backend: Backend;
}

/**
 * One network on one host: a backend of the same type for each of its families. A backend knows one family only, its own lease and its
 * peers' are halves; whatever its packets need is of that family, the way between the hosts too.
 */
export interface Overlay extends Pick<Backend, "lease" | "mtu" | "links" | "claim" | "run" | "pulse">, AsyncDisposable {
  /** IPv4 first. */
  readonly parts: readonly OverlayPart[];
  readonly macs: MacByFamily;
  /** As of a backend, from whole leases. */
  desired(peers: readonly Lease[]): Desired;
}

/** @throws {InvalidConfigError} if this type or this host lacks a family that the network has */
export async function prepareOverlay<Options>(
  type: BackendType<Options>,
  { externals, rememberedMacs, ...request }: OverlayRequest<Options>,
  options: Abortable,
): Promise<PreparedOverlay> {
  requireFamilies(type, request.config);
  const halves: { readonly range: SubnetRange; readonly prepared: PreparedBackend }[] = [];
  const abandon = () => {
    for (const { prepared } of halves) prepared.abandon?.();
  };
  try {
    for (const range of rangesOf(request.config)) {
      const { family } = range.network.address;
      const external = externals.find(({ address }) => address.family === family);
      if (external === undefined) throw new Error(`no way to other hosts by IPv${family} was given`);
      const { backend, warnings } = request.config;
      const networks = request.routes.networks.filter(({ address }) => address.family === family);
      const half = {
        ...request,
        config: { ...range, backend, warnings },
        routes: { ...request.routes, networks },
        external,
        rememberedMac: rememberedMacs[family],
      };
      halves.push({ range, prepared: await type.prepare(half, options) });
    }
  } catch (error) {
    abandon();
    throw error;
  }
  return {
    attributes: (existing) =>
      merged(
        halves.map(({ range, prepared }) =>
          prepared.attributes(existing && halfOf(existing, range.network.address.family)),
        ),
      ),
    open: (lease) =>
      overlay(
        lease,
        halves.map(({ range, prepared }) => ({ range, backend: prepared.open(halfIn(lease, range)) })),
      ),
    abandon,
  };
}

function requireFamilies({ families }: BackendType<unknown>, config: NetworkConfig): void {
  for (const { network } of rangesOf(config)) {
    const { family } = network.address;
    if (families.includes(family)) continue;
    const { type } = config.backend;
    throw family === 6 && config.ipv6 !== undefined
      ? new InvalidConfigError("EnableIPv6", `must not be true: backend ${JSON.stringify(type)} carries IPv4 only`)
      : new InvalidConfigError("EnableIPv4", `must not be false: backend ${JSON.stringify(type)} carries IPv4 only`);
  }
}

/** What both halves of a lease say, as a lease says it. */
function merged(halves: readonly LeaseAttributes[]): LeaseAttributes {
  const [first, second] = halves;
  if (first === undefined) throw new Error("a network without a family");
  if (second === undefined) return first;
  const { publicIP: publicIPv6, backendData: backendV6Data } = second;
  return { ...first, publicIPv6, ...(backendV6Data !== undefined && { backendV6Data }) };
}

function halfIn(lease: Lease, { network }: SubnetRange): Lease {
  const half = halfOf(lease, network.address.family);
  if (half === undefined) throw new Error(`the lease has no IPv${network.address.family} subnet`);
  return half;
}

function overlay(lease: Lease, parts: readonly OverlayPart[]): Overlay {
  const backends = parts.map(({ backend }) => backend);
  const working = backends.filter((backend) => backend.run !== undefined);
  const claim = wholeClaim(backends);
  const threaded = backends.find((backend) => backend.pulse !== undefined);
  return {
    lease,
    parts,
    // Container runtimes know one MTU: that of the family which leaves less.
    mtu: Math.min(...backends.map(({ mtu }) => mtu)),
    links: backends.flatMap(({ links }) => links),
    macs: Object.fromEntries(
      backends.flatMap(({ mac, lease }) => (mac === undefined ? [] : [[lease.subnet.address.family, mac]])),
    ),
    ...(claim !== undefined && { claim }),
    ...(threaded !== undefined && { pulse: () => threaded.pulse?.() ?? { steps: 0, isDue: false } }),
    desired(peers) {
      const desired = parts.map(({ range, backend }) => backend.desired(halvesOf(peers, range.network.address.family)));
      return {
        layers: joined(desired.flatMap(({ layers }) => layers)),
        unreachable: desired.flatMap(({ unreachable }) => unreachable),
      };
    },
    ...(working.length > 0 && {
      async run({ signal }: Abortable) {
        await using scope = new Scope(signal);
        for (const backend of working) scope.spawn(async (signal) => await backend.run?.({ signal }));
        await scope.join();
      },
    }),
    async [Symbol.asyncDispose]() {
      await Promise.all(backends.map((backend) => backend[Symbol.asyncDispose]()));
    },
  };
}

/** What the halves write outside of this host is in the same tables. */
function wholeClaim(backends: readonly Backend[]): RouteClaim | undefined {
  const claims = backends.flatMap(({ claim }) => claim ?? []);
  const [first] = claims;
  return first && { ...first, subnets: claims.flatMap(({ subnets }) => subnets) };
}

/** One layer for each table: in a cloud's, the halves have their rows together. */
function joined(layers: readonly Layer[]): readonly Layer[] {
  const byTable = new Map<unknown, Layer>();
  for (const layer of layers) {
    const { table, rows } = layer;
    const before = byTable.get(table);
    byTable.set(table, before === undefined ? layer : { ...before, rows: [...before.rows, ...rows] });
  }
  return [...byTable.values()];
}

/** Of thousands, and nearly always all of them. */
function halvesOf(peers: readonly Lease[], family: Family): readonly Lease[] {
  const halves: Lease[] = [];
  for (const peer of peers) {
    const half = halfOf(peer, family);
    if (half !== undefined) halves.push(half);
  }
  return halves;
}
