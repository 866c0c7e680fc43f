import { type Address, equalAddress } from "../ip/address.ts";
import type { MacAddress } from "../ip/mac-address.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Milliseconds } from "../lib/clock.ts";
import { ARP_SIZE, type ArpPacket, arpProbe, decodeArp } from "../wire/arp-packet.ts";
import { LITTLE_ENDIAN } from "../wire/writer.ts";
import { ask } from "./ask.ts";
import type { Link } from "./kernel.ts";
import { bind, close, SOCK_DGRAM, SOCK_NONBLOCK, sendto, socket } from "./libc.ts";
import { inNamespace } from "./namespace.ts";

const AF_PACKET = 17;
const ETH_P_ARP = 0x0806;

/** `struct sockaddr_ll`, packet(7). */
const SOCKADDR_LL = 20;

/** RFC 5227 §1.1 asks for three probes and seconds in between, for a host that waits for its address; a link answers in milliseconds. */
const PROBES = 3;
const BETWEEN: Milliseconds = 250;

/**
 * Asks a link whether anybody but us has an address, and takes note of who asks the same: ARP probes, RFC 5227. Takes 0.75 s if nobody has.
 * @param own MACs of this host, which are nobody else's
 * @returns whose it is; undefined if nobody answers, or the link has no MAC addresses
 * @throws {SystemCallError} without CAP_NET_RAW, or if the link goes down
 */
export async function findArpOwner(
  link: Link,
  address: Address,
  own: ReadonlySet<MacAddress>,
  namespace: string | undefined,
  { signal }: Abortable,
): Promise<MacAddress | undefined> {
  const { mac } = link;
  if (mac === undefined || address.family !== 4) return undefined;
  const fd = inNamespace(namespace, () => socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK, networkOrder(ETH_P_ARP)));
  try {
    bind(fd, linkAddress(link.index));
    const probe = arpProbe(mac, address);
    const send = () => void sendto(fd, probe, 0, linkAddress(link.index, BROADCAST));
    const read = (packet: Uint8Array) => {
      const arp = decodeArp(packet.subarray(0, ARP_SIZE));
      return arp !== undefined && !own.has(arp.senderMac) && claims(arp, address) ? arp.senderMac : undefined;
    };
    return await ask({ fd, send, times: PROBES, every: BETWEEN, read }, { signal });
  } finally {
    close(fd);
  }
}

/** Somebody has the address, or is about to have it: a probe like ours. RFC 5227 §2.1.1 */
function claims({ isReply, senderAddress, targetAddress }: ArpPacket, address: Address): boolean {
  return (
    equalAddress(senderAddress, address) ||
    (!isReply && senderAddress.value === 0n && equalAddress(targetAddress, address))
  );
}

const BROADCAST = new Uint8Array(6).fill(0xff);

function linkAddress(index: number, mac: Uint8Array = new Uint8Array(0)): Uint8Array {
  const bytes = new Uint8Array(SOCKADDR_LL);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_PACKET, LITTLE_ENDIAN);
  view.setUint16(2, ETH_P_ARP);
  view.setInt32(4, index, LITTLE_ENDIAN);
  bytes[11] = mac.length;
  bytes.set(mac, 12);
  return bytes;
}

function networkOrder(value: number): number {
  return LITTLE_ENDIAN ? ((value & 0xff) << 8) | (value >> 8) : value;
}
