import { expect, test } from "vitest";
import { VIRTIO_GSO_TCP4, VIRTIO_HEADER_SIZE, VIRTIO_NEEDS_CHECKSUM, VirtioHeader } from "./virtio-header.ts";

// Before a TCP superpacket that Linux 6.18 handed out: 1420 bytes a segment.
const CAPTURED = Uint8Array.from(Buffer.from("010134008c0514001000", "hex"));

test("VirtioHeader.read() reads what the kernel writes, and write() writes it back", () => {
  const header = new VirtioHeader();
  header.read(new DataView(CAPTURED.buffer), 0);
  expect(header).toEqual({
    flags: VIRTIO_NEEDS_CHECKSUM,
    gsoType: VIRTIO_GSO_TCP4,
    headerLength: 52,
    gsoSize: 1420,
    checksumStart: 20,
    checksumOffset: 16,
  });
  const bytes = new Uint8Array(14).fill(0xee);
  header.write(new DataView(bytes.buffer), 2);
  expect(bytes.subarray(2, 2 + VIRTIO_HEADER_SIZE)).toEqual(CAPTURED);
  expect([bytes[0], bytes[1], bytes[12], bytes[13]], "beside it").toEqual([0xee, 0xee, 0xee, 0xee]);
  header.clear();
  expect(header).toEqual(new VirtioHeader());
});
