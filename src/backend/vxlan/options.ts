import * as v from "valibot";
import type { Prefix } from "../../ip/prefix.ts";
import { integer, parseFields } from "../../lease/json-fields.ts";
import { parseAcceptFrom } from "../accept-from.ts";

/** The largest number of 24 bits. RFC 7348 §5. */
const VNI_MAX = 0xff_ffff;

const Options = v.object({
  VNI: v.optional(integer(0, VNI_MAX), 1),
  Port: v.optional(integer(0, 65_535), 0),
  GBP: v.optional(v.boolean(), false),
  AcceptFrom: v.optional(v.unknown(), "peers"),
});

export interface VxlanOptions {
  readonly vni: number;
  /** UDP port; 0 for the kernel's default, 8472. */
  readonly port: number;
  /** Group policy extension. */
  readonly gbp: boolean;
  /** Outer source addresses that are let in although they are no peer's. */
  readonly acceptFrom: readonly Prefix[];
}

/** @throws {InvalidConfigError} naming the field */
export function parseVxlanOptions(json: unknown): VxlanOptions {
  const { VNI, Port, GBP, AcceptFrom } = parseFields(Options, json, "Backend");
  return { vni: VNI, port: Port, gbp: GBP, acceptFrom: parseAcceptFrom(AcceptFrom, [4, 6]) };
}
