import { type Address, decodeAddress, encodeAddress } from "../ip/address.ts";
import { decodeMacAddress, encodeMacAddress, type MacAddress } from "../ip/mac-address.ts";

/** Bytes of an ARP packet for Ethernet and IPv4. RFC 826 */
export const ARP_SIZE = 28;

export interface ArpPacket {
  readonly isReply: boolean;
  readonly senderMac: MacAddress;
  /** 0.0.0.0 in a probe, RFC 5227. */
  readonly senderAddress: Address;
  readonly targetAddress: Address;
}

const ETHERNET = 1;
const IPV4 = 0x0800;
const REQUEST = 1;
const REPLY = 2;

const NOBODY: Address = { family: 4, value: 0n };

/** Asks who has an address without claiming it, so that nobody's tables change. RFC 5227 §1.1 */
export function arpProbe(senderMac: MacAddress, targetAddress: Address): Uint8Array {
  return encodeArp({ isReply: false, senderMac, senderAddress: NOBODY, targetAddress });
}

export function encodeArp({ isReply, senderMac, senderAddress, targetAddress }: ArpPacket): Uint8Array {
  const bytes = new Uint8Array(ARP_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, ETHERNET);
  view.setUint16(2, IPV4);
  bytes[4] = 6;
  bytes[5] = 4;
  view.setUint16(6, isReply ? REPLY : REQUEST);
  bytes.set(encodeMacAddress(senderMac), 8);
  bytes.set(encodeAddress(senderAddress), 14);
  bytes.set(encodeAddress(targetAddress), 24);
  return bytes;
}

/** @returns undefined for what is no ARP packet about IPv4 on Ethernet: anybody may send anything */
export function decodeArp(bytes: Uint8Array): ArpPacket | undefined {
  if (bytes.length < ARP_SIZE) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const operation = view.getUint16(6);
  if (view.getUint16(0) !== ETHERNET || view.getUint16(2) !== IPV4 || bytes[4] !== 6 || bytes[5] !== 4)
    return undefined;
  if (operation !== REQUEST && operation !== REPLY) return undefined;
  return {
    isReply: operation === REPLY,
    senderMac: decodeMacAddress(bytes.subarray(8, 14)),
    senderAddress: decodeAddress(bytes.slice(14, 18)),
    targetAddress: decodeAddress(bytes.slice(24, 28)),
  };
}
