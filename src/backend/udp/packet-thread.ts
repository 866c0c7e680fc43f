import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { NO_OFFLOADS, type TunDevice, type UdpSocket } from "../../kernel/kernel.ts";
import { close, eventfd } from "../../kernel/libc.ts";
import { addressOf } from "../../kernel/packet-calls.ts";
import { openRawSocket, rawPort, socketPort, tunPort } from "../../kernel/packet-io.ts";
import { Poller } from "../../kernel/packet-poller.ts";
import { Arena } from "../../lib/arena.ts";
import { Checksum } from "../../wire/packet/checksum.ts";
import type { IpPacket } from "../../wire/packet/ip-packet.ts";
import { CountersWriter } from "./counters.ts";
import type { DropReason } from "./drop-reason.ts";
import { DropSampler } from "./drop-sampler.ts";
import { FloodGuard } from "./flood-guard.ts";
import { Forwarding } from "./forwarding.ts";
import { type IcmpErrorReason, IcmpErrors } from "./icmp-error.ts";
import { Inward } from "./inward.ts";
import { Outward } from "./outward.ts";
import { runPacketLoop } from "./packet-loop.ts";
import { Rehearsal } from "./rehearsal.ts";
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

/**
 * The entry of the thread that moves packets. It waits in the kernel, never in the event loop: messages are fetched when the wake
 * descriptor says so. Nothing in the loop allocates, so that the collector has nothing to do.
 */
const ARENA_SIZE = 4 << 20;

/** Of the rehearsal: every kind of packet a few times. */
const FIRST_STEPS = 3;

const ROOM = { tun: false, socket: false, room: true };
/** How often, and how long each time, in milliseconds, the socket is waited for at the end. */
const LAST_TRIES = 10;
const LAST_WAIT = 10;

function main(): void {
  if (parentPort === null) throw new Error("packet-thread is a worker's entry");
  const port = parentPort;
  const { port: peerPort, isPlain, isVerbose, control, counters, addresses, forwarding } = workerData as ThreadStart;
  const words = new Int32Array(control);
  const wake = eventfd();
  Atomics.store(words, WAKE, wake);
  const tell = (news: ThreadNews) => port.postMessage(news);
  const arena = new Arena(ARENA_SIZE);
  const checksum = new Checksum(arena);
  const raw = openRawSocket();
  const rawWay = raw === undefined ? undefined : rawPort(arena, raw);
  const sampler = new DropSampler(arena, { isVerbose, now: () => performance.now() });
  const errors = new IcmpErrors(arena, checksum, addresses);
  const guard: FloodGuard = new FloodGuard({
    sources: () => context.forwarding.sources(),
    now: () => performance.now(),
    degraded: (reason) => tell({ type: "degraded", reason }),
  });
  const context = {
    arena,
    base: addressOf(arena),
    counters: new CountersWriter(counters),
    forwarding: new Forwarding(forwarding, arena),
    guard,
    refuse(packet: IpPacket, reason: IcmpErrorReason) {
      const length = rawWay === undefined ? 0 : errors.build(packet, reason, performance.now());
      if (length > 0) rawWay?.send(errors.at, length);
    },
    sample(reason: DropReason, outerSource: number, packet: IpPacket, packets?: number) {
      const sample = sampler.take(reason, outerSource, packet, context.forwarding, packets);
      if (sample !== undefined) tell({ type: "dropped", sample });
    },
    degraded: (reason: string) => tell({ type: "degraded", reason }),
  };
  const outward = new Outward(context, checksum, { port: peerPort, isPlain });
  const inward = new Inward(context, checksum, { isPlain });
  const poller = new Poller(arena, wake);

  const setTun = (device: TunDevice | undefined) => {
    if (poller.tun >= 0) close(poller.tun);
    poller.tun = device?.fd ?? -1;
    const tun = device === undefined ? undefined : tunPort(arena, device.fd);
    const { header, tcp, udp } = device?.offloads ?? NO_OFFLOADS;
    outward.setTun(tun, header);
    inward.setTun(tun, header, { tcp4: tcp, tcp6: tcp, udp4: udp, udp6: udp });
  };
  const setSocket = (socket: UdpSocket | undefined) => {
    if (poller.socket >= 0) close(poller.socket);
    poller.socket = socket?.fd ?? -1;
    const ways = socket === undefined ? undefined : socketPort(arena, socket.fd);
    outward.sender.socket = ways;
    outward.sender.segments = socket?.segments ?? false;
    inward.socket = ways;
    guard.setSocket(ways);
  };
  const obey = (order: ThreadOrder) => {
    if (order.type === "tun") setTun(order.device);
    else if (order.type === "socket") setSocket(order.socket);
    else {
      context.forwarding = new Forwarding(order.forwarding, arena);
      guard.sourcesChanged();
    }
  };
  const hear = () => Atomics.store(words, HEARD, Atomics.load(words, ASKED));
  const onWoken = () => {
    hear();
    for (;;) {
      const received = receiveMessageOnPort(port);
      if (received === undefined) break;
      obey(received.message as ThreadOrder);
    }
    return Atomics.load(words, STATE) !== STOP;
  };
  const onTunGone = () => {
    outward.setTun(undefined, false);
    inward.setTun(undefined, false, { tcp4: false, tcp6: false, udp4: false, udp6: false });
  };
  const nowhere = { tun: tunPort(arena, -1), socket: socketPort(arena, -1) };
  const rehearsal = new Rehearsal({ arena, base: context.base, checksum, ...nowhere, isPlain });
  const onIdle = () => rehearsal.step();
  // Most of what the first packets would cost, before there is one in hand; the rest when there is time.
  for (let step = 0; step < FIRST_STEPS; step++) {
    rehearsal.step();
    hear();
  }
  if (onWoken()) runPacketLoop({ outward, inward, poller, guard, onWoken, onTunGone, onIdle });
  // What is in hand goes out, so that a restart loses nothing; a network that takes nothing does not hold up the end.
  for (let tries = 0; tries < LAST_TRIES && !outward.finish(); tries++) poller.wait(ROOM, LAST_WAIT);
  setTun(undefined);
  setSocket(undefined);
  if (raw !== undefined) close(raw);
  port.close();
}

main();
