// For tests only.
import { expect, onTestFinished } from "vitest";
import type { Table } from "../../dataplane/table.ts";
import { type Address, parseAddress } from "../../ip/address.ts";
import { type MacAddress, parseMacAddress } from "../../ip/mac-address.ts";
import { type Prefix, parsePrefix } from "../../ip/prefix.ts";
import type { Kernel, VxlanRow } from "../kernel.ts";

/** A network stack of its own for one test: `eth0` is up with 192.0.2.1/24, and nothing else but loopback is there. */
export interface KernelFixture extends Disposable {
  readonly kernel: Kernel;
  readonly others: OtherPrograms;
}

/** What others do to the same stack, behind the back of the Kernel. */
export interface OtherPrograms {
  /** Of another kind than any of ours. */
  addLink(name: string): void;
  deleteLink(name: string): void;
  setLinkDown(name: string): void;
  setMac(name: string, mac: MacAddress): void;
  setMtu(name: string, mtu: number): void;
  addAddress(link: string, address: Prefix): void;
  deleteAddress(link: string, address: Prefix): void;
  /** @param protocol 3 boot, 4 static */
  addRoute(route: { destination: Prefix; link: string; gateway?: Address; protocol: number }): void;
  deleteRoute(destination: Prefix): void;
  addNeighbor(link: string, destination: Address, mac: MacAddress): void;
  deleteNeighbor(link: string, destination: Address): void;
  deleteFdb(link: string, mac: MacAddress): void;
}

export interface KernelHarness {
  open(): KernelFixture;
  /** Until notifications of what was done have surely come. */
  settle(): Promise<void>;
}

export const options = { signal: new AbortController().signal };

export const address = parseAddress;
export const prefix = parsePrefix;
export const mac = parseMacAddress;

export const FLANNEL_1: VxlanRow = {
  kind: "vxlan",
  name: "flannel.1",
  mac: mac("c6:df:8a:93:40:f8"),
  mtu: 1450,
  vni: 1,
  local: address("192.0.2.1"),
  lower: "eth0",
  port: 0,
  gbp: false,
  learning: false,
};

/** A fixture that the test's end disposes of. */
export function open(harness: KernelHarness): KernelFixture {
  const fixture = harness.open();
  onTestFinished(() => fixture[Symbol.dispose]());
  return fixture;
}

/** The same with a vxlan device in it. */
export async function openWithDevice(harness: KernelHarness): Promise<KernelFixture> {
  const fixture = open(harness);
  await put(fixture.kernel.linkTable({ owned: ["flannel.1"] }), FLANNEL_1);
  return fixture;
}

/** Applies puts that must succeed. */
export async function put<Row>(table: Table<Row>, ...puts: readonly Row[]): Promise<void> {
  expect(await table.apply({ puts, removals: [] }, options)).toEqual([]);
}

/** Applies removals that must succeed. */
export async function remove<Row>(table: Table<Row>, ...removals: readonly Row[]): Promise<void> {
  expect(await table.apply({ puts: [], removals }, options)).toEqual([]);
}

/** What the table lists, as text, sorted. */
export async function listed<Row>(table: Table<Row>): Promise<readonly string[]> {
  return (await table.list(options)).map((row) => table.format(row)).toSorted();
}

/** Whether the table calls its watchers while `action` runs and until notifications have come. */
export async function isTold<Row>(
  harness: KernelHarness,
  table: Table<Row>,
  action: () => void | Promise<void>,
): Promise<boolean> {
  let calls = 0;
  using _watch = table.watch?.(() => calls++);
  await table.list(options);
  await harness.settle();
  calls = 0;
  await action();
  await harness.settle();
  return calls > 0;
}
