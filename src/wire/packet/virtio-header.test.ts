import { expect, test } from "vitest";
import { VIRTIO_GSO_TCP4, VIRTIO_HEADER_SIZE, VIRTIO_NEEDS_CHECKSUM, VirtioHeader } from "./virtio-header.ts";

// By the layout in virtio_net.h: TCP over IPv4, 1448 bytes a segment.
const LAID_OUT = Uint8Array.from(Buffer.from("01013400a80514001000", "hex"));

test("VirtioHeader.read() reads the kernel's layout, and write() writes it back", () => {
  const header = new VirtioHeader();
  header.read(new DataView(LAID_OUT.buffer), 0);
  expect(header).toEqual({
    flags: VIRTIO_NEEDS_CHECKSUM,
    gsoType: VIRTIO_GSO_TCP4,
    headerLength: 52,
    gsoSize: 1448,
    checksumStart: 20,
    checksumOffset: 16,
  });
  const bytes = new Uint8Array(14).fill(0xee);
  header.write(new DataView(bytes.buffer), 2);
  expect(bytes.subarray(2, 2 + VIRTIO_HEADER_SIZE)).toEqual(LAID_OUT);
  expect([bytes[0], bytes[1], bytes[12], bytes[13]], "beside it").toEqual([0xee, 0xee, 0xee, 0xee]);
  header.clear();
  expect(header).toEqual(new VirtioHeader());
});
