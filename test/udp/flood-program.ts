/**
 * node flood-program.ts ADDRESS PORT RATE [VNI]: sends a host so many small datagrams a second, 0 as many as it can, until SIGTERM, with a VNI of vxlan; says
 * "flooding", and at the end how many there were in how many seconds.
 */
import { AF_INET, SOCK_DGRAM, SOCK_NONBLOCK, socket } from "../../src/kernel/libc.ts";
import { SendBatch } from "../../src/kernel/message-batch.ts";
import { addressOf, sendmmsg } from "../../src/kernel/packet-calls.ts";
import { Arena } from "../../src/lib/arena.ts";
import { ip4, payload, udp } from "../../src/wire/packet/packets.ts";

const BATCH = 32;

const [address = "", port = "", rate = "", vni] = process.argv.slice(2);
const destination = address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
const inner = ip4(udp(payload(36)), { source: "10.5.255.1", destination: "10.5.255.2" });
/** RFC 7348 §5; whether an Ethernet frame follows is for nobody to see who refuses it. */
const header = vni === undefined ? [] : [8, 0, 0, 0, Number(vni) >> 16, Number(vni) >> 8, Number(vni), 0];
const packet = Uint8Array.of(...header, ...inner);
const arena = new Arena(1 << 20);
const base = addressOf(arena);
const at = arena.reserve(packet.length);
arena.bytes.set(packet, at);
const batch = new SendBatch(arena, base, { messages: BATCH, pieces: BATCH, port: Number(port) });
for (let index = 0; index < BATCH; index++) {
  batch.pieces.piece(at, packet.length);
  batch.add(destination, index, 1, 0);
}
const fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
const begin = performance.now();
let sent = 0;

function burst(): void {
  const until = performance.now() + (Number(rate) === 0 ? 1 : 20); // who gets little of the processor makes up for it
  do {
    const due = Number(rate) === 0 ? Number.POSITIVE_INFINITY : ((performance.now() - begin) / 1000) * Number(rate);
    if (sent >= due) break;
    sent += Math.max(0, sendmmsg(fd, base + batch.at, BATCH));
  } while (performance.now() < until);
  if (Number(rate) === 0) setImmediate(burst);
  else setTimeout(burst, 1);
}

process.once("SIGTERM", () => {
  console.log(JSON.stringify({ sent, seconds: (performance.now() - begin) / 1000 }));
  process.exit(0);
});
console.log("flooding");
burst();
