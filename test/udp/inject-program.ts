/** node inject-program.ts ADDRESS: sends each line of standard input, a datagram in hex, to port 8285 of a host. */
import { createSocket } from "node:dgram";
import { createInterface } from "node:readline";

const [address] = process.argv.slice(2);
const socket = createSocket("udp4");
for await (const line of createInterface({ input: process.stdin }))
  await new Promise((resolve) => socket.send(Buffer.from(line, "hex"), 8285, address, resolve));
socket.close();
