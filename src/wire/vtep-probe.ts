import { type Address, encodeAddress } from "../ip/address.ts";
import { encodeMacAddress, type MacAddress } from "../ip/mac-address.ts";
import { finish, sumShort } from "./packet/checksum.ts";

/** What a VTEP is asked: an ICMP echo request inside a vxlan packet. IPv4. */
export interface VtepProbe {
  readonly vni: number;
  /** The VTEP's. */
  readonly mac: MacAddress;
  /** The VTEP's in the overlay. */
  readonly target: Address;
  /** Whom it is to answer: an address of the underlay, so that the answer needs no entry of ours in its tables. */
  readonly sender: Address;
  /** What is to come back, 16 bytes. */
  readonly nonce: Uint8Array;
}

/** Of the headers: VXLAN, RFC 7348 §5; Ethernet; IPv4, RFC 791; ICMP echo, RFC 792. */
const ETHERNET = 8;
const IPV4 = ETHERNET + 14;
const ICMP = IPV4 + 20;
const NONCE = ICMP + 8;
const NONCE_SIZE = 16;
const SIZE = NONCE + NONCE_SIZE;

const VNI_IS_VALID = 0x08;
const ETHERTYPE_IPV4 = 0x0800;
const PROTOCOL_ICMP = 1;
const ECHO_REQUEST = 8;
const ECHO_REPLY = 0;

/** A station that is nobody's: locally administered. */
const SENDER_MAC = new Uint8Array([0x02, 0x66, 0x6c, 0x6e, 0x6c, 0x3f]);

/** The payload of the UDP datagram. */
export function encodeVtepProbe({ vni, mac, target, sender, nonce }: VtepProbe): Uint8Array {
  const bytes = new Uint8Array(SIZE);
  const view = new DataView(bytes.buffer);
  bytes[0] = VNI_IS_VALID;
  view.setUint32(4, vni * 256);
  bytes.set(encodeMacAddress(mac), ETHERNET);
  bytes.set(SENDER_MAC, ETHERNET + 6);
  view.setUint16(ETHERNET + 12, ETHERTYPE_IPV4);
  bytes[IPV4] = 0x45;
  view.setUint16(IPV4 + 2, SIZE - IPV4);
  bytes[IPV4 + 8] = 64; // hops
  bytes[IPV4 + 9] = PROTOCOL_ICMP;
  bytes.set(encodeAddress(sender), IPV4 + 12);
  bytes.set(encodeAddress(target), IPV4 + 16);
  view.setUint16(IPV4 + 10, finish(sumShort(view, IPV4, ICMP - IPV4)));
  bytes[ICMP] = ECHO_REQUEST;
  bytes.set(nonce.subarray(0, NONCE_SIZE), NONCE);
  view.setUint16(ICMP + 2, finish(sumShort(view, ICMP, SIZE - ICMP)));
  return bytes;
}

/** Whether an IPv4 packet is the answer to a probe with this nonce, whoever it comes from: a NAT may have changed that. */
export function answersVtepProbe(packet: Uint8Array, nonce: Uint8Array): boolean {
  const header = ((packet[0] ?? 0) & 0x0f) * 4;
  if ((packet[0] ?? 0) >> 4 !== 4 || header < 20 || packet.length < header + 8 + NONCE_SIZE) return false;
  if (packet[9] !== PROTOCOL_ICMP || packet[header] !== ECHO_REPLY) return false;
  return nonce.subarray(0, NONCE_SIZE).every((byte, index) => packet[header + 8 + index] === byte);
}
