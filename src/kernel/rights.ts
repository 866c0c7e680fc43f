import koffi from "koffi";
import { SystemCallError } from "./errno.ts";
import { SOL_SOCKET } from "./libc.ts";

const SCM_RIGHTS = 1;
/** `struct cmsghdr`: length, level, type. include/linux/socket.h, on machines of 64 bits. */
const CONTROL_HEADER = 16;

const Piece = koffi.struct({ base: "const void *", length: "uint64_t" });
const Message = koffi.struct({
  name: "const void *",
  nameLength: "uint32_t",
  pieces: koffi.pointer(Piece),
  pieceCount: "uint64_t",
  control: "const void *",
  controlLength: "uint64_t",
  flags: "int",
});
const cSendmsg = koffi.load(null).func("sendmsg", "int64_t", ["int", koffi.pointer(Message), "int"]);

/**
 * Sends a datagram with descriptors over a Unix socket: SCM_RIGHTS, unix(7). The receiver gets its own; ours stay open.
 * @param address `struct sockaddr_un`
 * @throws {SystemCallError}
 */
export function sendRights(
  fd: number,
  bytes: Uint8Array,
  descriptors: readonly number[],
  flags: number,
  address: Uint8Array,
): void {
  const control = new Uint8Array(CONTROL_HEADER + align(4 * descriptors.length));
  const view = new DataView(control.buffer);
  view.setBigUint64(0, BigInt(CONTROL_HEADER + 4 * descriptors.length), true);
  view.setInt32(8, SOL_SOCKET, true);
  view.setInt32(12, SCM_RIGHTS, true);
  for (const [index, descriptor] of descriptors.entries()) view.setInt32(CONTROL_HEADER + 4 * index, descriptor, true);
  const message = {
    name: address,
    nameLength: address.length,
    pieces: { base: bytes, length: bytes.length },
    pieceCount: 1,
    control,
    controlLength: control.length,
    flags: 0,
  };
  if (cSendmsg(fd, message, flags) < 0) throw new SystemCallError("sendmsg", koffi.errno());
}

function align(size: number): number {
  return Math.ceil(size / 8) * 8;
}
