import { closeSync, rmSync } from "node:fs";
import koffi from "koffi";
import { duplicate } from "../../src/kernel/descriptors.ts";
import { AF_UNIX, bind, close, onReadable, type Readiness, SOCK_DGRAM, socket } from "../../src/kernel/libc.ts";
import type { DaemonOptions } from "./daemons.ts";

const MSG_DONTWAIT = 0x40;
const MSG_CMSG_CLOEXEC = 0x40000000;

const Piece = koffi.struct({ base: "void *", length: "uint64_t" });
const Message = koffi.struct({
  name: "void *",
  nameLength: "uint32_t",
  pieces: koffi.pointer(Piece),
  pieceCount: "uint64_t",
  control: "void *",
  controlLength: "uint64_t",
  flags: "int",
});
const cRecvmsg = koffi.load(null).func("recvmsg", "int64_t", ["int", koffi.pointer(Message), "int"]);

/** What systemd does with `NOTIFY_SOCKET` for a service that has `FileDescriptorStoreMax=`: keeps descriptors, and passes them to the next start. */
export class ServiceManager implements Disposable {
  readonly #path: string;
  readonly #fd: number;
  readonly #readiness: Readiness;
  readonly #store: { readonly name: string; readonly fd: number }[] = [];
  readonly messages: string[] = [];

  /** @param path a leading `@` for an abstract address */
  constructor(path: string) {
    this.#path = path;
    this.#fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    const name = Buffer.from(path.replace(/^@/, "\0"));
    bind(this.#fd, Buffer.concat([Buffer.from([AF_UNIX, 0]), name]));
    this.#readiness = onReadable(this.#fd, () => this.#receive());
  }

  /** Names of what it keeps. */
  get stored(): readonly string[] {
    return this.#store.map(({ name }) => name);
  }

  /** How it starts the service. @param says it says in `FDSTORE` that it has a store, as systemd does since 254 */
  start({ says = true } = {}): DaemonOptions {
    const passing = this.#store.length > 0;
    return {
      passed: this.#store.map(({ fd }) => fd),
      env: {
        NOTIFY_SOCKET: this.#path,
        ...(says && { FDSTORE: "8" }),
        ...(passing && { LISTEN_FDS: String(this.#store.length), LISTEN_FDNAMES: this.stored.join(":") }),
      },
      by: passing ? ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"] : [],
    };
  }

  #receive(): void {
    const bytes = new Uint8Array(4096);
    const control = new Uint8Array(256);
    const pieces = { base: bytes, length: bytes.length };
    for (;;) {
      control.fill(0);
      const message = { name: null, nameLength: 0, pieces, pieceCount: 1, control, controlLength: 256, flags: 0 };
      const length = Number(cRecvmsg(this.#fd, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
      if (length < 0) return;
      const count = Math.max(0, (Number(new DataView(control.buffer).getBigUint64(0, true)) - 16) / 4);
      this.#handle(Buffer.from(bytes.subarray(0, length)).toString(), [...new Int32Array(control.buffer, 16, count)]);
    }
  }

  #handle(message: string, descriptors: readonly number[]): void {
    this.messages.push(message);
    const fields = new Map(message.split("\n").map((line) => line.split("=") as [string, string]));
    const name = fields.get("FDNAME") ?? "stored";
    if (fields.get("FDSTOREREMOVE") === "1")
      for (const each of this.#store.filter((stored) => stored.name === name)) {
        this.#store.splice(this.#store.indexOf(each), 1);
        closeSync(each.fd);
      }
    if (fields.get("FDSTORE") === "1") for (const fd of descriptors) this.#store.push({ name, fd: duplicate(fd) });
    for (const fd of descriptors) closeSync(fd);
  }

  [Symbol.dispose](): void {
    this.#readiness[Symbol.dispose]();
    close(this.#fd);
    for (const { fd } of this.#store) closeSync(fd);
    if (!this.#path.startsWith("@")) rmSync(this.#path);
  }
}
