import { formatAddress } from "../src/ip/address.ts";
import type { Prefix } from "../src/ip/prefix.ts";
import type { LeaseFormat } from "../src/lease/subnet-manager.ts";

/** The Network that has room for every lease of the bench. */
export const BENCH_NETWORK = "10.0.0.0/8";

/** Hosts' own addresses, so many that each peer of the bench has one; on the link of the host that is measured. */
export const PEERS_LINK = "172.16.0.1/12";

export interface WriterCommand {
  readonly type: "put" | "remove";
  /** Of the first peer. */
  readonly from: number;
  readonly count: number;
}

/** Times by CLOCK_MONOTONIC, the same in all processes; nanoseconds as text. */
export type WriterReply =
  | { readonly started: string; readonly ended: string; readonly error?: undefined }
  | { readonly error: string };

/** The subnet of the index-th peer, 0 to 59,999: 10.10.0.0/24 and on. */
export function fakePeer(index: number): { readonly subnet: Prefix } {
  return { subnet: { address: { family: 4, value: 0x0a0a_0000n + (BigInt(index) << 8n) }, length: 24 } };
}

/** What its lease says. */
export function fakeValue(index: number, backend: string, format: LeaseFormat): string {
  const PublicIP = formatAddress({ family: 4, value: 0xac10_0100n + BigInt(index) });
  const mac = `02:00:00:${[16, 8, 0].map((bits) => ((index >> bits) & 255).toString(16).padStart(2, "0")).join(":")}`;
  const data = format === "0.7" ? { VtepMAC: mac } : { VNI: 1, VtepMAC: mac };
  return JSON.stringify({
    PublicIP,
    ...(format === "later" && { PublicIPv6: null }),
    BackendType: backend,
    ...(backend === "vxlan" && { BackendData: data }),
  });
}
