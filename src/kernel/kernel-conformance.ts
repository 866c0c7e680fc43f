// For tests only.
import { describeDeviceTables } from "./conformance/device-tables.ts";
import type { KernelHarness } from "./conformance/kernel-harness.ts";
import { describePacketTables } from "./conformance/packet-tables.ts";
import { describePeerTables } from "./conformance/peer-tables.ts";
import { describeRouteTables } from "./conformance/route-tables.ts";

/** Registers tests of everything that the Kernel port promises, to be run by Linux and by the fake. */
export function describeKernel(name: string, harness: KernelHarness): void {
  describeDeviceTables(name, harness);
  describePeerTables(name, harness);
  describePacketTables(name, harness);
  describeRouteTables(name, harness);
}
