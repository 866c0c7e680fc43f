import * as v from "valibot";
import type { Prefix } from "../../ip/prefix.ts";
import { integer, parseFields } from "../../lease/json-fields.ts";
import { parseAcceptFrom } from "../accept-from.ts";

const Options = v.object({
  Port: v.optional(integer(1, 65_535), 8285),
  AcceptFrom: v.optional(v.unknown(), "peers"),
  Offload: v.optional(v.boolean(), true),
});

export interface UdpOptions {
  /** UDP port of every host: ours, and the one that packets are sent to. */
  readonly port: number;
  /** Outer source addresses that are let in although they are no peer's; IPv4, since the outer packets are. */
  readonly acceptFrom: readonly Prefix[];
  /** Whether to ask the kernel to hand over and take many packets as one. */
  readonly offload: boolean;
}

/** @throws {InvalidConfigError} naming the field */
export function parseUdpOptions(json: unknown): UdpOptions {
  const { Port, AcceptFrom, Offload } = parseFields(Options, json, "Backend");
  return { port: Port, acceptFrom: parseAcceptFrom(AcceptFrom, [4]), offload: Offload };
}
