/**
 * node sizes-program.ts receive: tells on SIGTERM what came, and the sender how many there were, now and then. node sizes-program.ts send
 * ADDRESS: sends datagrams of every size up to more than one packet carries, some larger ones, and trains that the kernel is to cut; tells
 * how many of which size. It never has more under way than the queues hold; with `unheard` nobody says how many came.
 */
import { createSocket, type RemoteInfo } from "node:dgram";
import { setTimeout as sleep } from "node:timers/promises";
import { AF_INET, MSG_DONTWAIT, recv, SOCK_DGRAM, sendto, setIntegerOption, socket } from "../../src/kernel/libc.ts";

const PORT = 7700;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
/** Datagrams under way: as many of the largest that one packet carries fill a third of a usual socket's queue. */
const WINDOW = 64;
/** How often the receiver says how many came, ms, and how long the sender waits to hear that all have. */
const [OFTEN, PATIENCE] = [2, 10_000];
const SINGLE = [...Array.from({ length: 1600 }, (_, size) => size), 2917, 4096, 8192, 16_384, 32_768, 65_000, 65_507];
/** Size of each datagram, and how many follow one another. */
const TRAINS = [
  [1, 64],
  [7, 3],
  [100, 64],
  [536, 33],
  [1300, 45],
  [1444, 40],
] as const;

/** Every byte says where it should be. */
function pattern(size: number, from = 0): Uint8Array {
  return Uint8Array.from(
    { length: size },
    (_, index) => ((index + from) * 31 + ((index + from) >> 8) * 7 + size) & 255,
  );
}

function address(text: string): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes.set([AF_INET, 0, PORT >> 8, PORT & 255, ...text.split(".").map(Number)]);
  return bytes;
}

async function sendAll(to: string, isHeard: boolean): Promise<void> {
  const name = address(to);
  const sent = new Map<number, number>();
  let [all, arrived] = [0, 0];
  const count = (size: number, more: number) => {
    all += more;
    sent.set(size, (sent.get(size) ?? 0) + more);
  };
  const fd = socket(AF_INET, SOCK_DGRAM, 0);
  const said = new Uint8Array(4);
  /** Until so few are under way; in vain if some are lost. */
  const drained = async (most: number) => {
    if (!isHeard) return await sleep(5);
    for (const end = performance.now() + PATIENCE; all - arrived > most && performance.now() < end; await sleep(1))
      while (recv(fd, said, MSG_DONTWAIT) > 0) arrived = new DataView(said.buffer).getUint32(0);
  };
  for (const size of SINGLE) {
    sendto(fd, pattern(size), 0, name);
    count(size, 1);
    if (size % 32 === 0 || size > 1600) await drained(size > 1600 ? 0 : WINDOW - 32);
  }
  for (const [size, length] of TRAINS) {
    setIntegerOption(fd, SOL_UDP, UDP_SEGMENT, size);
    const train = new Uint8Array(size * length);
    for (let index = 0; index < length; index++) train.set(pattern(size), index * size);
    await drained(0);
    sendto(fd, train, 0, name);
    count(size, length);
  }
  await drained(0);
  console.log(JSON.stringify([...sent]));
}

function receiveAll(): void {
  const received = new Map<number, number>();
  let wrong = 0;
  let all = 0;
  let from: RemoteInfo | undefined;
  const server = createSocket({ type: "udp4", recvBufferSize: 4 << 20 }, (bytes, sender) => {
    all++;
    from = sender;
    received.set(bytes.length, (received.get(bytes.length) ?? 0) + 1);
    if (Buffer.compare(bytes, pattern(bytes.length)) !== 0) wrong++;
  });
  const tell = () => {
    const count = Buffer.alloc(4);
    count.writeUInt32BE(all);
    if (from !== undefined) server.send(count, from.port, from.address);
  };
  server.bind(PORT, () => console.log("ready"));
  setInterval(tell, OFTEN);
  process.once("SIGTERM", () => {
    console.log(JSON.stringify({ received: [...received], wrong }));
    process.exit(0);
  });
}

const [mode, to = "", how] = process.argv.slice(2);
if (mode === "send") await sendAll(to, how !== "unheard");
else receiveAll();
