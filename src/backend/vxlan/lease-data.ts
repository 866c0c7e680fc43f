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

const LeaseData = v.object({ VtepMAC: v.string(), VNI: v.optional(integer(0, 0xff_ffff)) });

/** 0.7.0 knows the MAC alone; later releases write the VNI before it. */
export function formatLeaseData(vtepMac: MacAddress, vni: number, format: LeaseFormat): Json {
  return format === "0.7" ? { VtepMAC: vtepMac } : { VNI: vni, VtepMAC: vtepMac };
}

/** @throws {InvalidConfigError} naming the field and its value */
export function parseLeaseData(data: Json | undefined): VxlanLeaseData {
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
