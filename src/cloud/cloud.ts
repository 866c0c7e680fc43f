import type { Table } from "../dataplane/table.ts";
import type { Address } from "../ip/address.ts";
import type { Prefix } from "../ip/prefix.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Milliseconds } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import type { Notes } from "../lib/notes.ts";

/**
 * Who a route delivers to: this instance, another one that lives, something that is no instance (a gateway, or an interface of ours
 * that is not the right one), or nobody: a black hole.
 */
export type LeadsTo = "self" | "instance" | "elsewhere" | "nowhere";

/** A row of a cloud's route table. */
export interface CloudRoute {
  /** Undefined for the cloud's only table, or for the one that this instance's subnet uses. */
  readonly table: string | undefined;
  readonly destination: Prefix;
  /** As the cloud names it: `eni-0a1b2c3d`, `projects/p/zones/z/instances/i`. */
  readonly target: string;
  readonly leadsTo: LeadsTo;
}

/** Whether an instance may pass packets on that are neither to it nor from it. */
export interface ForwardingRow {
  readonly instance: string;
  readonly isOn: boolean;
}

/** A subnet that some host holds, and whose route is that host's business alone. */
export interface HeldSubnet {
  readonly subnet: Prefix;
}

export interface CloudTables {
  /** The subnets of others: a black hole that one of them leads to is left to its holder. */
  readonly held: Table<HeldSubnet>;
  readonly routes: Table<CloudRoute>;
  readonly forwarding: Table<ForwardingRow>;
}

/** Which rows of the cloud's route tables are one network's, in one family. */
export interface CloudScope {
  readonly network: Prefix;
  /** Our own. */
  readonly subnet: Prefix;
  /** Whether a host of this network could hold it. */
  isSubnet(prefix: Prefix): boolean;
}

/** What this host wrote into a cloud's route tables, or was about to: enough for a later run to find it there. */
export interface RouteClaim {
  readonly cloud: "vpc" | "compute-engine";
  /** As of a {@link CloudRequest}. */
  readonly address: Address;
  /** As of a {@link VpcRequest}. */
  readonly routeTables: readonly string[];
  readonly subnets: readonly Prefix[];
}

/** A claim's tables, as they stand in a {@link CloudRoute}. */
export function tablesOf({ routeTables }: Pick<RouteClaim, "routeTables">): readonly (string | undefined)[] {
  return routeTables.length === 0 ? [undefined] : routeTables;
}

/** This host as an instance of a cloud. */
export interface CloudHost {
  /** What routes to it name: the target of the rows that it wants. */
  readonly target: string;
  /** For people: `i-0a1b2c3d`. */
  readonly instance: string;
  /** What the cloud routes itself: no Network may overlap it. */
  readonly ranges: readonly Prefix[];
  /** @throws {CloudError} if the cloud knows no such address of this host's network interface, and so carries nothing of its family */
  requireAddress(address: Address): void;
  /** The same for all families of a network: each adds what it cares for. */
  tables(scope: CloudScope): CloudTables;
  /** Routes to this instance that are left of a claim in this cloud. @param kept what this host claims now: its routes are not among them */
  formerRoutes(claim: RouteClaim, kept: RouteClaim | undefined): Table<CloudRoute>;
}

export interface CloudRequest {
  /** The host's own, by which the cloud knows the interface. */
  readonly address: Address;
  /** How often the cloud is asked whether all is as it should be. */
  readonly checkEvery: Milliseconds;
  readonly notes: Notes;
  readonly logger: Logger;
}

export interface VpcRequest extends CloudRequest {
  /** Ids; none for the one that the instance's subnet uses. */
  readonly routeTables: readonly string[];
}

/** The clouds whose route tables flannel can write. What one of them needs is loaded when it is opened. */
export interface Cloud {
  /** @throws if this is no EC2 instance, or its metadata cannot be had */
  openVpc(request: VpcRequest, options: Abortable): Promise<CloudHost>;
  /** @throws if this is no Compute Engine instance, or its metadata cannot be had */
  openComputeEngine(request: CloudRequest, options: Abortable): Promise<CloudHost>;
}
