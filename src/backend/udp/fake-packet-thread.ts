import type { ForwardingData } from "./forwarding.ts";
import type { PacketThread, PacketThreadOptions } from "./thread.ts";

/** For tests: a packet thread that does nothing, and remembers what it was told. */
export class FakePacketThread implements PacketThread {
  readonly options: PacketThreadOptions;
  /** What it was told, as text, in order. */
  readonly orders: string[] = [];
  /** What it was told last. */
  forwarding: ForwardingData;
  readonly ended: Promise<void>;
  readonly #end: PromiseWithResolvers<void> = Promise.withResolvers();

  constructor(options: PacketThreadOptions) {
    this.options = options;
    this.forwarding = options.forwarding;
    this.setForwarding(options.forwarding);
    this.ended = this.#end.promise;
    this.ended.catch(() => {});
  }

  setTun: PacketThread["setTun"] = (device) => {
    this.orders.push(`tun ${device?.name ?? "none"}`);
  };

  setSocket: PacketThread["setSocket"] = (socket) => {
    this.orders.push(`socket ${socket?.fd ?? "none"}`);
  };

  setForwarding: PacketThread["setForwarding"] = (forwarding) => {
    this.forwarding = forwarding;
    this.orders.push(`forwarding to ${forwarding.addresses.length} peers`);
  };

  pulse: PacketThread["pulse"] = () => ({ steps: 0, isDue: false });

  fail(error: Error): void {
    this.#end.reject(error);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.orders.push("stop");
    this.#end.resolve();
  }
}
