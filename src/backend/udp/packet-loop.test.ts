import { expect, test } from "vitest";
import { EIO } from "../../kernel/errno.ts";
import type { PollerPort, PollerWants, SocketPort, TunPort } from "../../kernel/packet-ports.ts";
import { ip4, payload, udp } from "../../wire/packet/packets.ts";
import { ALL_MERGES, hostAddress, MemoryHost } from "./memory-host.ts";
import { runPacketLoop } from "./packet-loop.ts";
import { join, virtio } from "./superpackets.ts";

const HEADER = virtio(0, 0, 0, 0, 0);
const [ours, theirs] = ["10.5.15.1", "10.5.16.2"];
const going = (id = 1) => join([HEADER, ip4(udp(payload(40)), { source: ours, destination: theirs, id, ttl: 64 })]);
const coming = (id = 1) => ({
  host: hostAddress(16),
  bytes: ip4(udp(payload(40)), { source: theirs, destination: ours, id, ttl: 64 }),
  segment: 0,
});
const idOf = (packet: Uint8Array) => (packet[4] ?? 0) * 256 + (packet[5] ?? 0);
const times = <T>(count: number, make: (index: number) => T) =>
  Array.from({ length: count }, (_, index) => make(index));

/** What happens while the loop waits. After the last one it is told to stop. */
type Step = (poller: ScriptedPoller) => void;

/** poll(2) over the memory devices: where nothing is ready and there is time, the next step happens. */
class ScriptedPoller implements PollerPort {
  isTunReady = false;
  isSocketReady = false;
  isWoken = false;
  /** What each wait was for, and how long it might have been. */
  readonly waits: string[] = [];
  /** Whether somebody has rung. */
  rings = false;
  hasEnded = false;
  readonly #host: MemoryHost;
  readonly #steps: Step[];

  constructor(host: MemoryHost, steps: readonly Step[]) {
    this.#host = host;
    this.#steps = [...steps];
  }

  wait(wants: PollerWants, timeout: number): void {
    const names = Object.entries(wants).filter(([, wanted]) => wanted);
    this.waits.push([...names.map(([name]) => name), timeout].join(" "));
    if (this.waits.length > 10_000) throw new Error("it spins");
    this.#look(wants);
    if (timeout !== 0 && !this.isTunReady && !this.isSocketReady && !this.isWoken) {
      const step = this.#steps.shift();
      if (step === undefined) this.hasEnded = this.rings = true;
      else step(this);
      this.#look(wants);
      if (timeout < 0 && !this.isTunReady && !this.isSocketReady && !this.isWoken) throw new Error("it waits for ever");
    }
    if (this.isWoken) this.rings = false;
  }

  #look(wants: PollerWants): void {
    const { tun, socket } = this.#host;
    this.isTunReady = wants.tun && (tun.isGone || tun.toRead.length > 0);
    // POLLERR comes whatever was asked for.
    const isBroken = (wants.socket || wants.room) && socket.failures.length > 0;
    this.isSocketReady = isBroken || (wants.socket && socket.toReceive.length > 0) || (wants.room && socket.room > 0);
    this.isWoken = this.rings;
  }
}

/** @param onWoken may tell the loop to go on no longer */
function loop(host: MemoryHost, steps: readonly Step[], onWoken: Step = () => {}, onIdle?: () => boolean) {
  const poller = new ScriptedPoller(host, steps);
  let tunsGone = 0;
  runPacketLoop({
    outward: host.outward,
    inward: host.inward,
    poller,
    guard: host.guard,
    ...(onIdle !== undefined && { onIdle }),
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
  const { tun, socket } = host;
  tun.toRead.push(going());
  const { waits } = loop(host, [
    () => tun.toRead.push(going(), going()),
    () => socket.toReceive.push(coming()),
    () => {
      tun.toRead.push(...times(500, going));
      socket.toReceive.push(...times(500, coming));
    },
  ]);
  expect(socket.sent).toHaveLength(503);
  expect(host.counters.total().receivedPackets).toBe(501);
  expect(waits.filter((wait) => !wait.endsWith(" 0"))).toEqual(Array(4).fill("tun socket -1"));
});

test("runPacketLoop() waits for room, not for packets, while the socket is full; the other way goes on", () => {
  const host = new MemoryHost(15, [16]);
  const { tun, socket } = host;
  socket.room = 0;
  const { waits } = loop(host, [
    () => tun.toRead.push(...times(300, going)),
    () => socket.toReceive.push(coming()),
    () => {
      expect(host.counters.total().receivedPackets).toBe(1);
      socket.room = 1;
    },
    () => (socket.room = 100),
  ]);
  expect(socket.sent.map(({ bytes }) => idOf(bytes))).toEqual(times(300, (id) => id));
  expect(waits.filter((wait) => !wait.endsWith(" 0"))).toEqual([
    "tun socket -1",
    "socket room -1",
    "socket room -1",
    "socket room -1",
    "tun socket -1",
  ]);
});

test("runPacketLoop() asks a deleted device for nothing until there is another, and still drains the socket", () => {
  const host = new MemoryHost(15, [16]);
  const { tun, socket } = host;
  const steps: Step[] = [
    () => (tun.isGone = true),
    () => socket.toReceive.push(coming(), coming()),
    (poller) => {
      tun.isGone = false;
      tun.toRead.push(going());
      poller.rings = true;
    },
  ];
  const { waits, tunsGone } = loop(host, steps, () => host.outward.setTun(tun, true));
  expect(tunsGone).toBe(1);
  expect(waits).toEqual(["tun socket -1", "socket -1", "socket -1", "tun socket -1"]);
  expect(host.drops).toEqual({ "device refused": 2 });
  expect(socket.sent).toHaveLength(1);
});

test("runPacketLoop() begins with a device that is gone already", () => {
  const host = new MemoryHost(15, [16]);
  host.tun.isGone = true;
  const { waits, tunsGone } = loop(host, [() => host.socket.toReceive.push(coming())]);
  expect(tunsGone).toBe(1);
  expect(waits).toEqual(["socket -1", "socket -1"]);
});

test("runPacketLoop() does not spin over a socket that does nothing but fail, and notices when it works again", () => {
  const host = new MemoryHost(15, [16]);
  const { tun, socket } = host;
  socket.failures.push(...times(100_000, () => -EIO));
  const { waits } = loop(host, [
    () => tun.toRead.push(going()),
    () => {},
    () => {
      socket.failures.length = 0;
      socket.toReceive.push(coming());
    },
  ]);
  expect(socket.sent).toHaveLength(1);
  expect(host.counters.total().receivedPackets).toBe(1);
  expect(waits.filter((wait) => !wait.endsWith(" 0"))).toEqual(["tun 100", "tun 100", "tun 100", "tun socket -1"]);
});

/** More than a few rounds, in each of which a direction may do what it likes, and nobody has had its turn. */
const PATIENCE = 8;

/** Has a device always more to read, or a socket more to receive. @param onRead is told how often it was asked */
function flood(host: MemoryHost, which: "tun" | "socket", onRead: (count: number) => void): void {
  const { tun, socket } = host;
  let count = 0;
  const [out, back] = [going(), coming()];
  const busyTun: TunPort = {
    read(at, length) {
      onRead(++count);
      tun.toRead.push(out);
      return tun.read(at, length);
    },
    write: (pieces) => tun.write(pieces),
  };
  const busySocket: SocketPort = {
    receive(batch) {
      onRead(++count);
      socket.toReceive.push(...times(batch.capacity, () => back));
      return socket.receive(batch);
    },
    send: (batch, from) => socket.send(batch, from),
    dropped: () => 0,
    limitSources: (ranges) => socket.limitSources(ranges),
  };
  if (which === "tun") host.outward.setTun(busyTun, true);
  else host.inward.socket = busySocket;
}

test.each(["tun", "socket"] as const)("runPacketLoop() hears soon what others want, however busy the %s", (which) => {
  const host = new MemoryHost(15, [16]);
  const poller = new ScriptedPoller(host, []);
  let asked = 0;
  flood(host, which, (count) => {
    asked = count;
    if (count === 500) poller.rings = true;
  });
  const { outward, inward, guard } = host;
  runPacketLoop({ outward, inward, poller, guard, onWoken: () => false, onTunGone: () => {} });
  const perRound = which === "tun" ? 64 : 1;
  expect((asked - 500) / perRound).toBeLessThan(PATIENCE);
});

test("runPacketLoop() lets packets go out soon, however many come in", () => {
  const host = new MemoryHost(15, [16]);
  const poller = new ScriptedPoller(host, []);
  let after = 0;
  flood(host, "socket", (count) => {
    if (count === 500) host.tun.toRead.push(going());
    if (host.socket.sent.length > 0) poller.rings = true;
    else after = count - 500;
  });
  const { outward, inward, guard } = host;
  runPacketLoop({ outward, inward, poller, guard, onWoken: () => false, onTunGone: () => {} });
  expect(after).toBeLessThan(PATIENCE);
});

test("runPacketLoop() lets packets come in soon, however many go out", () => {
  const host = new MemoryHost(15, [16]);
  const poller = new ScriptedPoller(host, []);
  let after = 0;
  flood(host, "tun", (count) => {
    if (count === 500) host.socket.toReceive.push(coming());
    if (host.counters.total().receivedPackets > 0) poller.rings = true;
    else after = count - 500;
  });
  const { outward, inward, guard } = host;
  runPacketLoop({ outward, inward, poller, guard, onWoken: () => false, onTunGone: () => {} });
  expect(after / 64).toBeLessThan(PATIENCE);
});

test("runPacketLoop() looks after two seconds of silence whether a flood is over, and sleeps for good when it is", () => {
  const host = new MemoryHost(15, [16]);
  const { socket } = host;
  const silence: Step = () => (host.now += 2_000);
  const { waits } = loop(host, [
    () => socket.toReceive.push(...times(1_000, (id) => ({ ...coming(id), host: hostAddress(99) }))),
    (poller) => {
      expect(socket.sources).toBeDefined();
      silence(poller);
    },
    silence,
    () => {
      expect(socket.sources).toBeUndefined();
      socket.toReceive.push(coming());
    },
  ]);
  expect(waits.filter((wait) => !wait.endsWith(" 0"))).toEqual([
    "tun socket -1",
    "tun socket 2000",
    "tun socket 2000",
    "tun socket -1",
    "tun socket -1",
  ]);
});

test("runPacketLoop() does what is of use while there are no packets, and sleeps once that is done", () => {
  const host = new MemoryHost(15, [16]);
  const { tun, socket } = host;
  tun.toRead.push(going());
  let left = 10;
  const sent: number[] = [];
  const onIdle = () => {
    sent.push(socket.sent.length);
    if (left === 5) tun.toRead.push(going(), going());
    return --left > 0;
  };
  const { waits } = loop(host, [() => tun.toRead.push(going())], undefined, onIdle);
  expect(sent).toEqual([1, 1, 1, 1, 1, 1, 3, 3, 3, 3]);
  expect(waits.filter((wait) => !wait.endsWith(" 0"))).toEqual(["tun socket -1", "tun socket -1"]);
});
