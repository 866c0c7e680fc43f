import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { ended } from "../../src/lab/program.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import type { Abortable } from "../../src/lib/abortable.ts";
import { plainSum, u16 } from "../../src/wire/packet/packets.ts";
import { saysOnce } from "../support/tcp.ts";

/** What a stranger's datagram holds, for tcpdump to come to the end by. */
const LAST = "flannel test: the last datagram";

/** Watches a host's cable at the switch. @returns a function that ends it and tells the frames that carried udp packets, both ways */
export async function captureCable(
  lab: Lab,
  host: LabHost,
  { signal }: Abortable,
): Promise<() => Promise<readonly Uint8Array[]>> {
  const directory = mkdtempSync(join(tmpdir(), "flannel-capture-"));
  const file = join(directory, "frames.pcap");
  const argv = [
    "tcpdump",
    "-n",
    "-U",
    "--immediate-mode",
    "-B",
    "65536",
    "-i",
    host.name,
    "-w",
    file,
    "udp",
    "port",
    "8285",
  ];
  const tcpdump = lab.switch.namespace.spawn(argv, { stdio: ["ignore", "ignore", "pipe"] });
  const end = ended(tcpdump);
  await saysOnce(tcpdump.stderr, "listening on", { signal });
  return async () => {
    // It lags behind the wire, and forgets the rest when it ends.
    await lab.switch.namespace.run(["bash", "--norc", "-c", `printf '${LAST}' >/dev/udp/${host.address}/8285`]);
    const isWhole = () => readFileSync(file).includes(LAST);
    await waitUntil(isWhole, { signal, within: 60_000, every: 50, what: "tcpdump tells of the last datagram" });
    tcpdump.kill("SIGINT");
    await end;
    const frames = parsePcap(readFileSync(file));
    rmSync(directory, { recursive: true });
    return frames.filter((frame) => !Buffer.from(frame).includes(LAST));
  };
}

/** https://www.tcpdump.org/manpages/pcap-savefile.5.html, little-endian. */
function parsePcap(bytes: Uint8Array): readonly Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const frames: Uint8Array[] = [];
  for (let at = 24; at + 16 <= bytes.length; ) {
    const length = view.getUint32(at + 8, true);
    if (length !== view.getUint32(at + 12, true)) throw new Error("a frame was not captured as a whole");
    frames.push(bytes.subarray(at + 16, at + 16 + length));
    at += 16 + length;
  }
  return frames;
}

/** An outer packet and what it carries. */
export interface Carried {
  readonly outer: Ip4;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly inner: Ip4;
}

export interface Ip4 {
  readonly source: string;
  readonly destination: string;
  readonly length: number;
  readonly ttl: number;
  readonly protocol: number;
  readonly isFragment: boolean;
}

/** What an Ethernet frame carries, every length and checksum looked at. @throws if one of them is wrong */
export function dissectFrame(frame: Uint8Array): Carried {
  if (at16(frame, 12) !== 0x0800) throw new Error("not IPv4 outside");
  const outer = frame.subarray(14);
  const seen = dissectIp4(outer);
  const udp = outer.subarray(20);
  if (seen.isFragment || outer[0] !== 0x45 || seen.protocol !== 17) throw new Error("not a whole UDP datagram outside");
  if (at16(udp, 4) !== udp.length) throw new Error("the outer UDP length is wrong");
  if (at16(udp, 6) === 0) throw new Error("there is no outer UDP checksum");
  return {
    outer: seen,
    sourcePort: at16(udp, 0),
    destinationPort: at16(udp, 2),
    inner: dissectIp4(udp.subarray(8)),
  };
}

/** @throws if a length or a checksum is wrong, or if there is more than the packet */
function dissectIp4(packet: Uint8Array): Ip4 {
  const headerLength = ((packet[0] ?? 0) & 15) * 4;
  if ((packet[0] ?? 0) >> 4 !== 4 || headerLength < 20) throw new Error("not IPv4");
  if (at16(packet, 2) !== packet.length) throw new Error(`a packet of ${at16(packet, 2)} bytes in ${packet.length}`);
  if (plainSum(packet.subarray(0, headerLength)) !== 0xffff) throw new Error("the IP header's checksum is wrong");
  const protocol = packet[9] ?? 0;
  const isFragment = (at16(packet, 6) & 0x3fff) !== 0;
  const transport = packet.subarray(headerLength);
  if (!isFragment && !hasChecksum(protocol, transport, packet.subarray(12, 20)))
    throw new Error(
      `the checksum of protocol ${protocol} is wrong in ${Buffer.from(packet.subarray(0, 60)).toString("hex")}`,
    );
  return {
    source: packet.subarray(12, 16).join("."),
    destination: packet.subarray(16, 20).join("."),
    length: packet.length,
    ttl: packet[8] ?? 0,
    protocol,
    isFragment,
  };
}

function hasChecksum(protocol: number, transport: Uint8Array, addresses: Uint8Array): boolean {
  if (protocol === 1) return plainSum(transport) === 0xffff;
  if (protocol === 17 && at16(transport, 6) === 0) return true; // none
  return plainSum([...addresses, 0, protocol, ...u16(transport.length), ...transport]) === 0xffff;
}

function at16(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0);
}
