import { expect, test } from "vitest";
import { EIO } from "../../kernel/errno.ts";
import type { PollerPort, PollerWants } from "../../kernel/packet-ports.ts";
import { ip4, payload, udp } from "../../wire/packet/packets.ts";
import { ALL_MERGES, hostAddress, MemoryHost } from "./memory-host.ts";
import { runPacketLoop } from "./packet-loop.ts";
import { join, virtio } from "./superpackets.ts";

const HEADER = virtio(0, 0, 0, 0, 0);
const going = (number = 1) =>
  join([HEADER, ip4(udp(payload(40)), { source: "10.5.15.1", destination: "10.5.16.2", id: number, ttl: 64 })]);
const coming = (number = 1) => ({
  host: hostAddress(16),
  bytes: ip4(udp(payload(40)), { source: "10.5.16.2", destination: "10.5.15.1", id: number, ttl: 64 }),
  segment: 0,
});

/** What happens while the loop waits; an empty step only wakes it, and after the last one it is told to stop. */
type Step = (host: MemoryHost) => void;

interface Waits {
  /** What each wait was for, and how long it might have been. */
  readonly waits: readonly string[];
  readonly tunsGone: number;
}

/** poll(2) over the memory devices: where nothing is ready and it may wait, the next step happens. */
class ScriptedPoller implements PollerPort {
  isTunReady = false;
  isSocketReady = false;
  isWoken = false;
  readonly waits: string[] = [];
  hasEnded = false;
  /** Whether somebody has rung. */
  rings = false;
  readonly #host: MemoryHost;
  readonly #steps: Step[];

  constructor(host: MemoryHost, steps: readonly Step[]) {
    this.#host = host;
    this.#steps = [...steps];
  }

  wait(wants: PollerWants, timeout: number): void {
    const names = Object.entries(wants).filter(([, wanted]) => wanted);
    this.waits.push(`${names.map(([name]) => name).join(" ")} ${timeout}`);
    if (this.waits.length > 1000) throw new Error("it spins");
    this.#look(wants);
    while (timeout !== 0 && !this.isTunReady && !this.isSocketReady && !this.isWoken) {
      const step = this.#steps.shift();
      if (step === undefined) this.hasEnded = this.rings = true;
      else step(this.#host);
      this.#look(wants);
    }
    if (this.isWoken) this.rings = false;
  }

  #look(wants: PollerWants): void {
    const { tun, socket } = this.#host;
    this.isTunReady = wants.tun && (tun.isGone || tun.toRead.length > 0);
    const hasNews = socket.failures.length > 0 || socket.toReceive.length > 0;
    // POLLERR comes whatever was asked for.
    const isBroken = (wants.socket || wants.room) && socket.failures.length > 0;
    this.isSocketReady = isBroken || (wants.socket && hasNews) || (wants.room && socket.room > 0);
    this.isWoken = this.rings;
  }
}

function loop(host: MemoryHost, steps: readonly Step[], onWoken: (poller: ScriptedPoller) => void = () => {}): Waits {
  const poller = new ScriptedPoller(host, steps);
  let tunsGone = 0;
  runPacketLoop({
    outward: host.outward,
    inward: host.inward,
    poller,
    onWoken() {
      onWoken(poller);
      return !poller.hasEnded;
    },
    onTunGone() {
      tunsGone++;
      host.outward.setTun(undefined, false);
      host.inward.setTun(undefined, false, ALL_MERGES);
    },
  });
  return { waits: poller.waits, tunsGone };
}

test("runPacketLoop() moves packets both ways and sleeps when there are none", () => {
  const host = new MemoryHost(15, [16]);
  host.tun.toRead.push(going());
  const { waits } = loop(host, [
    ({ tun }) => tun.toRead.push(going(), going()),
    ({ socket }) => socket.toReceive.push(coming()),
    ({ tun, socket }) => {
      tun.toRead.push(...Array.from({ length: 500 }, () => going()));
      socket.toReceive.push(...Array.from({ length: 500 }, () => coming()));
    },
  ]);
  expect(host.socket.sent).toHaveLength(503);
  expect(host.counters.total().receivedPackets).toBe(501);
  expect(waits.filter((wait) => wait.endsWith("-1"))).toEqual(Array(5).fill("tun socket -1"));
});

test("runPacketLoop() waits for room, not for packets, while the socket is full; the other way goes on", () => {
  const host = new MemoryHost(15, [16]);
  host.socket.room = 0;
  const { waits } = loop(host, [
    ({ tun }) => tun.toRead.push(...Array.from({ length: 300 }, (_, number) => going(number))),
    ({ socket }) => socket.toReceive.push(coming()),
    ({ socket }) => {
      expect(host.counters.total().receivedPackets).toBe(1);
      socket.room = 1;
    },
    ({ socket }) => (socket.room = 100),
  ]);
  const id = (bytes: Uint8Array) => (bytes[4] ?? 0) * 256 + (bytes[5] ?? 0);
  expect(host.socket.sent.map(({ bytes }) => id(bytes))).toEqual(Array.from({ length: 300 }, (_, number) => number));
  expect(waits[1]).toBe("socket room -1");
  expect(waits.length).toBeLessThan(15);
});

test("runPacketLoop() asks a deleted device for nothing until there is another, and still drains the socket", () => {
  const host = new MemoryHost(15, [16]);
  const { waits, tunsGone } = loop(
    host,
    [
      ({ tun }) => (tun.isGone = true),
      ({ socket }) => socket.toReceive.push(coming(), coming()),
      ({ tun }) => {
        tun.isGone = false;
        tun.toRead.push(going());
        ring();
      },
    ],
    (poller) => {
      if (!poller.hasEnded) host.outward.setTun(host.tun, true);
    },
  );
  function ring() {
    poller().rings = true;
  }
  expect(tunsGone).toBe(1);
  expect(waits).toEqual(["tun socket -1", "socket -1", "socket -1", "tun socket -1"]);
  expect(host.drops).toEqual({ "device refused": 2 });
  expect(host.socket.sent).toHaveLength(1);
});

test("runPacketLoop() begins with a device that is gone already", () => {
  const host = new MemoryHost(15, [16]);
  host.tun.isGone = true;
  const { waits, tunsGone } = loop(host, [({ socket }) => socket.toReceive.push(coming())]);
  expect(tunsGone).toBe(1);
  expect(waits).toEqual(["socket -1", "socket -1"]);
});

test("runPacketLoop() does not spin over a socket that does nothing but fail", () => {
  const host = new MemoryHost(15, [16]);
  host.socket.failures.push(...Array.from({ length: 100_000 }, () => -EIO));
  const { waits } = loop(host, [({ tun }) => tun.toRead.push(going())]);
  expect(host.socket.sent).toHaveLength(1);
  expect(waits.length).toBeLessThan(20);
});

test("runPacketLoop() hears what other threads want within a bounded time, however busy it is", () => {
  const host = new MemoryHost(15, [16]);
  endless(host.tun.toRead, () => going());
  let reads = 0;
  loop(host, [], (poller) => {
    reads = host.socket.calls;
    poller.hasEnded = true;
  });
  expect(reads).toBeGreaterThan(0);
});
