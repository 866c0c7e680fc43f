import { writeSync } from "node:fs";
import { Worker } from "node:worker_threads";
import type { Address } from "../../ip/address.ts";
import { close, eventfd } from "../../kernel/libc.ts";
import type { TunDevice } from "../../kernel/tun.ts";
import type { UdpSocket } from "../../kernel/udp-socket.ts";
import { type CountersMemory, createCounters } from "./counters.ts";
import type { ForwardingData } from "./forwarding.ts";
import { STOP, type ThreadNews, type ThreadOrder, type ThreadStart } from "./thread-messages.ts";

const WAKE = new BigUint64Array([1n]);

/** What the rest of the backend needs of the packet thread. */
export interface PacketThread extends AsyncDisposable {
  readonly counters: CountersMemory;
  /** The descriptor is the thread's from now on. */
  setTun(device: TunDevice | undefined): void;
  /** The descriptor is the thread's from now on. */
  setSocket(socket: UdpSocket | undefined): void;
  /** Takes the buffers of `forwarding` away. */
  setForwarding(forwarding: ForwardingData): void;
  /** Rejects if the thread fails; resolves once it has been disposed of. */
  readonly ended: Promise<void>;
}

export interface PacketThreadOptions {
  readonly port: number;
  /** Of the TUN device. */
  readonly addresses: readonly Address[];
  readonly forwarding: ForwardingData;
  readonly onNews: (news: ThreadNews) => void;
}

/** Starts the thread that moves packets; see packet-thread.ts. */
export function startPacketThread({ port, addresses, forwarding, onNews }: PacketThreadOptions): PacketThread {
  const control = new Int32Array(new SharedArrayBuffer(4));
  const wake = eventfd();
  const counters = createCounters();
  const start: ThreadStart = { port, wake, control: control.buffer, counters, addresses, forwarding };
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const worker = new Worker(new URL(`./packet-thread.${extension}`, import.meta.url), {
    workerData: start,
    env: {},
    stdin: false,
    resourceLimits: { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 64 },
  });
  const ring = () => {
    writeSync(wake, WAKE);
  };
  const stop = () => {
    if (Atomics.exchange(control, 0, STOP) !== STOP) ring();
  };
  // Node waits for its threads when it exits, and this one would never notice.
  process.on("exit", stop);
  const ended = new Promise<void>((resolve, reject) => {
    worker.on("error", reject);
    worker.on("exit", () => {
      process.off("exit", stop);
      close(wake);
      resolve();
    });
  });
  ended.catch(() => {}); // whoever runs the backend looks at it
  worker.on("message", onNews);
  const order = (message: ThreadOrder, transfer: ArrayBuffer[] = []) => {
    if (Atomics.load(control, 0) === STOP) return;
    worker.postMessage(message, transfer);
    ring();
  };
  return {
    counters,
    ended,
    setTun: (device) => order({ type: "tun", device }),
    setSocket: (socket) => order({ type: "socket", socket }),
    setForwarding: (data) => order({ type: "forwarding", forwarding: data }, data.buffers),
    async [Symbol.asyncDispose]() {
      stop();
      await ended.catch(() => {});
    },
  };
}
