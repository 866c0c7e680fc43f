import * as v from "valibot";
import type { ExternalInterface } from "../backend/backend.ts";
import { integer, parseFields } from "../lease/json-fields.ts";
import type { BackendConfig } from "../lease/network-config.ts";

/** The least that an IPv4 host must take is 576, RFC 791; vxlan's overhead leaves a container enough of 640 to be of use. The most is the kernel's. */
const Options = v.object({ MTU: v.optional(integer(640, 65_535)) });

/** Bytes of the largest packet between hosts, `Backend.MTU`, of any type; undefined for what the interface takes. @throws {InvalidConfigError} naming it */
export function parseUnderlayMtu({ options }: BackendConfig): number | undefined {
  return parseFields(Options, options, "Backend").MTU;
}

/** The interface with no larger packets than the config allows. */
export function limitMtu(external: ExternalInterface, mtu: number | undefined): ExternalInterface {
  return mtu === undefined || mtu >= external.link.mtu ? external : { ...external, link: { ...external.link, mtu } };
}
