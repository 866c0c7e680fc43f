import { closeSync, constants, openSync } from "node:fs";
import { EACCES, EBUSY, EINVAL, ENODEV, ENOENT, ENXIO, EPERM, SystemCallError } from "./errno.ts";
import { type AttachedTun, NO_OFFLOADS, type TunDevice, type TunOffloads } from "./kernel.ts";
import { ioctl, ioctlNumber } from "./libc.ts";
import { inNamespace } from "./namespace.ts";

/** include/uapi/linux/if_tun.h */
const TUNSETIFF = 0x400454ca;
const TUNGETIFF = 0x800454d2;
const TUNSETOFFLOAD = 0x400454d0;
const IFF_TUN = 0x1;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const TUN_F_CSUM = 0x01;
const TUN_F_TSO4 = 0x02;
const TUN_F_TSO6 = 0x04;
const TUN_F_TSO_ECN = 0x08;
const TUN_F_USO4 = 0x20;
const TUN_F_USO6 = 0x40;

/** `struct ifreq`: the name in 16 bytes, flags u16; 40 bytes in all. */
const IFREQ = 40;
const NAME_ROOM = 16;

/** From the most to the least; each is asked for until the kernel agrees. */
const STEPS: readonly (TunOffloads & { readonly flags: number })[] = [
  {
    header: true,
    checksum: true,
    tcp: true,
    udp: true,
    flags: TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6,
  },
  {
    header: true,
    checksum: true,
    tcp: true,
    udp: false,
    flags: TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN,
  },
  { header: true, checksum: true, tcp: false, udp: false, flags: TUN_F_CSUM },
  { header: true, checksum: false, tcp: false, udp: false, flags: 0 },
];

/**
 * Makes a device, or attaches to one that nobody holds. Reads and writes do not block.
 * @param offload whether to ask for offloads at all
 * @throws {SystemCallError} EBUSY if another process holds it, ENOENT without the tun module, EPERM without CAP_NET_ADMIN
 */
export function openTun(name: string, offload: boolean, namespace: string | undefined): TunDevice {
  const fd = openDriver(namespace);
  try {
    const hasHeader = offload && attach(fd, name, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR);
    if (!hasHeader && !attach(fd, name, IFF_TUN | IFF_NO_PI))
      throw new SystemCallError(`make TUN device ${name}`, EINVAL, "another kind of device has this name");
    return { fd, name, offloads: hasHeader ? negotiate(fd) : NO_OFFLOADS };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/**
 * A device whose descriptor an earlier process left.
 * @returns undefined if the descriptor is no TUN device of that name, or one without device, or not held as `offload` asks for
 */
export function adoptTun(fd: number, name: string, offload: boolean): TunDevice | undefined {
  const attached = attachedTun(fd);
  if (attached?.name !== name || attached.hasHeader !== offload) return undefined;
  return { fd, name, offloads: offload ? negotiate(fd) : NO_OFFLOADS };
}

/** What the descriptor is attached to; undefined if its device is gone or it never was a TUN descriptor. */
export function attachedTun(fd: number): AttachedTun | undefined {
  const request = new Uint8Array(IFREQ);
  try {
    ioctl(fd, TUNGETIFF, request);
  } catch (error) {
    if (error instanceof SystemCallError) return undefined;
    throw error;
  }
  const flags = new DataView(request.buffer).getUint16(NAME_ROOM, true);
  if ((flags & (IFF_TUN | IFF_NO_PI)) !== (IFF_TUN | IFF_NO_PI)) return undefined;
  const name = new TextDecoder().decode(request.subarray(0, request.indexOf(0)));
  return { name, hasHeader: (flags & IFF_VNET_HDR) !== 0 };
}

function openDriver(namespace: string | undefined): number {
  const path = "/dev/net/tun";
  try {
    return inNamespace(namespace, () => openSync(path, constants.O_RDWR | constants.O_NONBLOCK));
  } catch (error) {
    throw error instanceof Error && "errno" in error && typeof error.errno === "number"
      ? new SystemCallError(`open ${path}`, -error.errno, meaningOfDriver(-error.errno))
      : error;
  }
}

function meaningOfDriver(errno: number): string | undefined {
  switch (errno) {
    case ENOENT:
      return "there is no such device: run modprobe tun, or give it to the container: --device=/dev/net/tun";
    case ENODEV:
    case ENXIO:
      return "the kernel has no TUN devices: run modprobe tun on the host";
    case EPERM:
    case EACCES:
      return "not permitted: run as root, and give the device to the container: --device=/dev/net/tun";
    default:
      return undefined;
  }
}

/** Whether the kernel knows these flags. */
function attach(fd: number, name: string, flags: number): boolean {
  const request = new Uint8Array(IFREQ);
  new TextEncoder().encodeInto(name, request.subarray(0, NAME_ROOM - 1));
  new DataView(request.buffer).setUint16(NAME_ROOM, flags, true);
  try {
    ioctl(fd, TUNSETIFF, request);
    return true;
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    if (error.errno === EINVAL) return false;
    const meaning = { [EPERM]: "CAP_NET_ADMIN is needed", [EBUSY]: "another program holds it" }[error.errno];
    throw new SystemCallError(`make TUN device ${name}`, error.errno, meaning);
  }
}

function negotiate(fd: number): TunOffloads {
  return negotiateOffloads((flags) => ioctlNumber(fd, TUNSETOFFLOAD, flags));
}

/** @param ask throws a SystemCallError for flags that the kernel does not know @returns the most that it agrees to */
export function negotiateOffloads(ask: (flags: number) => void): TunOffloads {
  for (const { flags, ...offloads } of STEPS) {
    try {
      ask(flags);
      return offloads;
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error;
    }
  }
  return { ...NO_OFFLOADS, header: true };
}
