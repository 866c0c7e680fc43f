/**
 * node sizes-program.ts receive: tells on SIGTERM what came. node sizes-program.ts send ADDRESS: sends datagrams of every size up to more
 * than one packet carries, some larger ones, and trains that the kernel is to cut; tells how many of which size.
 */
import { createSocket } from "node:dgram";
import { setTimeout as sleep } from "node:timers/promises";
import { AF_INET, SOCK_DGRAM, sendto, setIntegerOption, socket } from "../../src/kernel/libc.ts";

const PORT = 7700;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
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

async function sendAll(to: string): Promise<void> {
  const name = address(to);
  const sent = new Map<number, number>();
  const count = (size: number, more: number) => sent.set(size, (sent.get(size) ?? 0) + more);
  const fd = socket(AF_INET, SOCK_DGRAM, 0);
  for (const size of SINGLE) {
    sendto(fd, pattern(size), 0, name);
    count(size, 1);
    if (size % 8 === 0) await sleep(1); // the receiver's queue is short
  }
  for (const [size, length] of TRAINS) {
    setIntegerOption(fd, SOL_UDP, UDP_SEGMENT, size);
    const train = new Uint8Array(size * length);
    for (let index = 0; index < length; index++) train.set(pattern(size), index * size);
    sendto(fd, train, 0, name);
    count(size, length);
    await sleep(5);
  }
  console.log(JSON.stringify([...sent]));
}

function receiveAll(): void {
  const received = new Map<number, number>();
  let wrong = 0;
  const server = createSocket({ type: "udp4", recvBufferSize: 4 << 20 }, (bytes) => {
    received.set(bytes.length, (received.get(bytes.length) ?? 0) + 1);
    if (Buffer.compare(bytes, pattern(bytes.length)) !== 0) wrong++;
  });
  server.bind(PORT, () => console.log("ready"));
  process.once("SIGTERM", () => {
    console.log(JSON.stringify({ received: [...received], wrong }));
    process.exit(0);
  });
}

const [mode, to = ""] = process.argv.slice(2);
if (mode === "send") await sendAll(to);
else receiveAll();
