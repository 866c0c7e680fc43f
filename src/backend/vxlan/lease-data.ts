import * as v from "valibot";
import { isUnicastMacAddress, type MacAddress, parseMacAddress } from "../../ip/mac-address.ts";
import { integer, parseFields } from "../../lease/json-fields.ts";
import type { Json } from "../../lease/lease.ts";
import type { LeaseFormat } from "../../lease/subnet-manager.ts";
import { InvalidConfigError } from "../../lib/errors.ts";

/** What a vxlan host tells the others in `BackendData`. */
export interface VxlanLeaseData {
  /** The MAC of its device, VXLAN tunnel end point. */
  readonly vtepMac: MacAddress;
  /** Only later releases tell. */
  readonly vni?: number;
}

const MOST_VNI = 0xff_ffff;
const LeaseData = v.object({ VtepMAC: v.string(), VNI: v.optional(integer(0, MOST_VNI)) });

/** 0.7.0 knows the MAC alone; later releases write the VNI before it. */
export function formatLeaseData(vtepMac: MacAddress, vni: number, format: LeaseFormat): Json {
  return format === "0.7" ? { VtepMAC: vtepMac } : { VNI: vni, VtepMAC: vtepMac };
}

/** @throws {InvalidConfigError} naming the field and its value */
export function parseLeaseData(data: Json | undefined): VxlanLeaseData {
  return asFlannelWritesIt(data) ?? parseAnyLeaseData(data);
}

/** Thousands of peers tell what flannels write, and nothing else: that is seen at a glance. Undefined if it must be looked at closely. */
function asFlannelWritesIt(data: Json | undefined): VxlanLeaseData | undefined {
  if (typeof data !== "object" || data === null) return undefined;
  const { VtepMAC, VNI } = data as { readonly VtepMAC?: Json; readonly VNI?: Json };
  if (Object.keys(data).length !== (VNI === undefined ? 1 : 2)) return undefined;
  if (typeof VtepMAC !== "string" || !PLAIN_MAC.test(VtepMAC)) return undefined;
  const vtepMac = VtepMAC as MacAddress;
  if (!isUnicastMacAddress(vtepMac)) return undefined;
  if (VNI === undefined) return { vtepMac };
  return Number.isInteger(VNI) && Number(VNI) >= 0 && Number(VNI) <= MOST_VNI
    ? { vtepMac, vni: Number(VNI) }
    : undefined;
}

const PLAIN_MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/;

function parseAnyLeaseData(data: Json | undefined): VxlanLeaseData {
  const { VtepMAC, VNI } = parseFields(LeaseData, data ?? {}, "BackendData");
  let vtepMac: MacAddress;
  try {
    vtepMac = parseMacAddress(VtepMAC);
  } catch (error) {
    throw new InvalidConfigError("BackendData.VtepMAC", error instanceof Error ? error.message : String(error));
  }
  if (!isUnicastMacAddress(vtepMac))
    throw new InvalidConfigError("BackendData.VtepMAC", `is no station's address: ${vtepMac}`);
  return { vtepMac, ...(VNI !== undefined && { vni: VNI }) };
}
