/** What precedes each packet on a TUN device with IFF_VNET_HDR: `struct virtio_net_hdr`, include/uapi/linux/virtio_net.h. */
export const VIRTIO_HEADER_SIZE = 10;

/** Flags. */
export const VIRTIO_NEEDS_CHECKSUM = 1;
/** Whoever wrote it has verified the checksum. */
export const VIRTIO_CHECKSUM_VALID = 2;

/** Kinds of segmentation that is still to be done. */
export const VIRTIO_GSO_NONE = 0;
export const VIRTIO_GSO_TCP4 = 1;
export const VIRTIO_GSO_TCP6 = 4;
export const VIRTIO_GSO_UDP = 5; // UDP_L4; 3 is the older fragmentation
/** A bit beside TCP's kinds: CWR is set. */
export const VIRTIO_GSO_ECN = 0x80;

/** A header in memory, little-endian as TUN has it on the machines we run on. Reused for one header after another. */
export class VirtioHeader {
  flags = 0;
  gsoType = VIRTIO_GSO_NONE;
  /** Bytes of all headers; a hint that readers do not rely on. */
  headerLength = 0;
  /** Payload bytes of each segment but the last. */
  gsoSize = 0;
  /** Where checksumming begins, from the start of the packet. */
  checksumStart = 0;
  /** Where the checksum's field lies, from `checksumStart`. */
  checksumOffset = 0;

  clear(): void {
    this.flags = 0;
    this.gsoType = VIRTIO_GSO_NONE;
    this.headerLength = 0;
    this.gsoSize = 0;
    this.checksumStart = 0;
    this.checksumOffset = 0;
  }

  read(view: DataView, at: number): void {
    this.flags = view.getUint8(at);
    this.gsoType = view.getUint8(at + 1);
    this.headerLength = view.getUint16(at + 2, true);
    this.gsoSize = view.getUint16(at + 4, true);
    this.checksumStart = view.getUint16(at + 6, true);
    this.checksumOffset = view.getUint16(at + 8, true);
  }

  write(view: DataView, at: number): void {
    view.setUint8(at, this.flags);
    view.setUint8(at + 1, this.gsoType);
    view.setUint16(at + 2, this.headerLength, true);
    view.setUint16(at + 4, this.gsoSize, true);
    view.setUint16(at + 6, this.checksumStart, true);
    view.setUint16(at + 8, this.checksumOffset, true);
  }
}
