import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { EAGAIN } from "../../src/kernel/errno.ts";
import { close } from "../../src/kernel/libc.ts";
import { addressOf } from "../../src/kernel/packet-calls.ts";
import { tunPort } from "../../src/kernel/packet-io.ts";
import type { TunPort } from "../../src/kernel/packet-ports.ts";
import { ScatterList } from "../../src/kernel/scatter-list.ts";
import { openTun } from "../../src/kernel/tun.ts";
import { Arena } from "../../src/lib/arena.ts";
import { VIRTIO_HEADER_SIZE } from "../../src/wire/packet/virtio-header.ts";

const ROOM = 66_000;

/** A network namespace of its own that goes when it is disposed. */
export class TunNamespace implements Disposable {
  readonly path: string;
  readonly #name: string;
  readonly #tuns: Tun[] = [];

  /** @param name begins with `pk-` */
  constructor(name: string) {
    this.#name = name;
    this.path = `/run/netns/${name}`;
    execFileSync("ip", ["netns", "add", name]);
  }

  /** @param offload with virtio headers and all offloads, else whole packets alone */
  open(device: string, offload: boolean): Tun {
    const tun = new Tun(openTun(device, offload, this.path).fd, offload ? VIRTIO_HEADER_SIZE : 0);
    this.#tuns.push(tun);
    return tun;
  }

  /** `ip` commands, one per line. */
  ip(lines: string): void {
    execFileSync("ip", ["-n", this.#name, "-batch", "-"], { input: lines });
  }

  /** The command that runs another one in here. */
  inside(argv: readonly string[]): readonly [string, readonly string[]] {
    return ["ip", ["netns", "exec", this.#name, ...argv]];
  }

  sysctl(...settings: readonly string[]): void {
    const [command, argv] = this.inside(["sysctl", "-q", "-w", ...settings]);
    execFileSync(command, argv);
  }

  [Symbol.dispose](): void {
    for (const tun of this.#tuns) tun[Symbol.dispose]();
    execFileSync("ip", ["netns", "delete", this.#name]);
  }
}

/** A TUN device with memory of its own. */
export class Tun implements Disposable {
  readonly #fd: number;
  readonly #headerSize: number;
  readonly #arena = new Arena(2 * ROOM);
  readonly #pieces: ScatterList;
  readonly #at: number;
  readonly #port: TunPort;

  constructor(fd: number, headerSize: number) {
    this.#fd = fd;
    this.#headerSize = headerSize;
    this.#pieces = new ScatterList(this.#arena, addressOf(this.#arena), 1);
    this.#at = this.#arena.reserve(ROOM);
    this.#port = tunPort(this.#arena, fd);
  }

  /** What waits, but for multicast: the kernel announces the groups of a new device whenever it likes. Undefined if nothing does. */
  read(): Uint8Array | undefined {
    for (;;) {
      const length = this.#port.read(this.#at, ROOM);
      if (length === -EAGAIN) return undefined;
      if (length < 0) throw new Error(`read of a TUN device: errno ${-length}`);
      const bytes = this.#arena.bytes.slice(this.#at, this.#at + length);
      const packet = bytes.subarray(this.#headerSize);
      const isMulticast = (packet[0] ?? 0) >> 4 === 6 ? packet[24] === 0xff : (packet[16] ?? 0) >> 4 === 0xe;
      if (!isMulticast) return bytes;
    }
  }

  /** @returns false if the kernel refuses the packet */
  write(bytes: Uint8Array): boolean {
    this.#arena.bytes.set(bytes, this.#at);
    this.#pieces.clear();
    this.#pieces.piece(this.#at, bytes.length);
    return this.#port.write(this.#pieces) === bytes.length;
  }

  /** The next `count` packets. @throws if they do not come within 20 seconds */
  async take(count: number): Promise<readonly Uint8Array[]> {
    const packets: Uint8Array[] = [];
    const deadline = Date.now() + 20_000;
    while (packets.length < count) {
      const packet = this.read();
      if (packet !== undefined) packets.push(packet);
      else if (Date.now() > deadline) throw new Error(`${packets.length} of ${count} packets came`);
      else await sleep(1);
    }
    return packets;
  }

  [Symbol.dispose](): void {
    close(this.#fd);
  }
}
