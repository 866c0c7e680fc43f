import { expect, test } from "vitest";
import { EINVAL, SystemCallError } from "./errno.ts";
import { negotiateOffloads } from "./tun.ts";

// include/uapi/linux/if_tun.h: CSUM 1, TSO4 2, TSO6 4, TSO_ECN 8, USO4 0x20, USO6 0x40
test.each([
  { kernel: "of today", known: 0x6f, agreed: { header: true, checksum: true, tcp: true, udp: true } },
  { kernel: "without USO", known: 0x1f, agreed: { header: true, checksum: true, tcp: true, udp: false } },
  { kernel: "without segmentation", known: 0x01, agreed: { header: true, checksum: true, tcp: false, udp: false } },
  { kernel: "without offloads", known: 0, agreed: { header: true, checksum: false, tcp: false, udp: false } },
  {
    kernel: "that refuses to speak of it",
    known: -1,
    agreed: { header: true, checksum: false, tcp: false, udp: false },
  },
])("negotiateOffloads() takes the most that a kernel $kernel agrees to", ({ known, agreed }) => {
  const asked: number[] = [];
  const offloads = negotiateOffloads((flags) => {
    asked.push(flags);
    if (known < 0 || (flags & ~known) !== 0) throw new SystemCallError("ioctl", EINVAL);
  });
  expect(offloads).toEqual(agreed);
  expect(asked[0]).toBe(0x6f);
  if (known >= 0) expect(asked.at(-1)).toBe([0x6f, 0x0f, 0x01, 0].find((flags) => (flags & ~known) === 0));
});
