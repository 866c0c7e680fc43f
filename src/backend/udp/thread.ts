import { closeSync, writeSync } from "node:fs";
import { getAsset, isSea } from "node:sea";
import { Worker } from "node:worker_threads";
import type { Address } from "../../ip/address.ts";
import type { TunDevice, UdpSocket } from "../../kernel/kernel.ts";
import type { Pulse } from "../../lib/pulse.ts";
import type { CountersMemory } from "./counters.ts";
import type { ForwardingData } from "./forwarding.ts";
import {
  ASKED,
  HEARD,
  STATE,
  STOP,
  type ThreadNews,
  type ThreadOrder,
  type ThreadStart,
  WAKE,
} from "./thread-messages.ts";

const ONE = new BigUint64Array([1n]);

/** What the rest of the backend needs of the packet thread. */
export interface PacketThread extends AsyncDisposable {
  /** The descriptor is the thread's from now on. */
  setTun(device: TunDevice | undefined): void;
  /** The descriptor is the thread's from now on. */
  setSocket(socket: UdpSocket | undefined): void;
  /** Takes the buffers of `forwarding` away. */
  setForwarding(forwarding: ForwardingData): void;
  /** Whether it still comes round, as it was asked last; asks anew. One that is still being loaded has nothing to do yet. */
  pulse(): Pulse;
  /** Rejects if the thread fails; resolves once it has been disposed of. */
  readonly ended: Promise<void>;
}

export interface PacketThreadOptions {
  readonly port: number;
  readonly isPlain: boolean;
  /** Whether samples of every kind of drop are wanted. */
  readonly isVerbose: boolean;
  /** Of the TUN device. */
  readonly addresses: readonly Address[];
  readonly counters: CountersMemory;
  /** Its buffers are taken away. */
  readonly forwarding: ForwardingData;
  readonly onNews: (news: ThreadNews) => void;
}

/** What the thread runs: a file beside us, or text, where we are one executable. */
function program(): URL | string {
  if (isSea()) return getAsset("packet-thread.cjs", "utf8");
  return new URL(`./packet-thread.${import.meta.url.endsWith(".ts") ? "ts" : "cjs"}`, import.meta.url);
}

/** Starts the thread that moves packets; see packet-thread.ts. */
export function startPacketThread({ onNews, ...options }: PacketThreadOptions): PacketThread {
  const control = new Int32Array(new SharedArrayBuffer(16));
  const start: ThreadStart = { ...options, control: control.buffer };
  const worker = new Worker(program(), {
    eval: isSea(),
    workerData: start,
    transferList: options.forwarding.buffers,
    env: {},
    stdin: false,
    resourceLimits: { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 64 },
  });
  const ring = () => {
    const wake = Atomics.load(control, WAKE);
    if (wake > 0) writeSync(wake, ONE);
  };
  const stop = () => {
    if (Atomics.exchange(control, STATE, STOP) !== STOP) ring();
  };
  // Node waits for its threads when it exits, and this one would never notice.
  process.on("exit", stop);
  const ended = new Promise<void>((resolve, reject) => {
    worker.on("error", reject);
    worker.on("exit", (code) => {
      process.off("exit", stop);
      const wasAsked = Atomics.exchange(control, STATE, STOP) === STOP;
      const wake = Atomics.exchange(control, WAKE, 0);
      if (wake > 0) closeSync(wake);
      if (wasAsked) resolve();
      else reject(new Error(`the packet thread ended by itself, with ${code}`));
    });
  });
  ended.catch(() => {}); // whoever runs the backend looks at it
  worker.on("message", onNews);
  const order = (message: ThreadOrder, transfer: ArrayBuffer[] = []) => {
    if (Atomics.load(control, STATE) === STOP) return;
    worker.postMessage(message, transfer);
    ring();
  };
  return {
    ended,
    setTun: (device) => order({ type: "tun", device }),
    setSocket: (socket) => order({ type: "socket", socket }),
    setForwarding: (data) => order({ type: "forwarding", forwarding: data }, data.buffers),
    pulse: () => {
      if (Atomics.load(control, STATE) === STOP || Atomics.load(control, WAKE) === 0) return { steps: 0, isDue: false };
      const heard = Atomics.load(control, HEARD);
      if (heard === Atomics.load(control, ASKED)) {
        Atomics.add(control, ASKED, 1);
        ring();
      }
      return { steps: heard, isDue: true };
    },
    async [Symbol.asyncDispose]() {
      stop();
      await ended.catch(() => {});
    },
  };
}
