/** node sink-program.ts PORT: binds a UDP socket that nobody reads, says "bound", and waits to be killed. */
import { parseAddress } from "../src/ip/address.ts";
import { openUdpSocket } from "../src/kernel/udp-socket.ts";

const [port = ""] = process.argv.slice(2);
openUdpSocket(parseAddress("0.0.0.0"), Number(port), false, undefined);
console.log("bound");
setInterval(() => {}, 60_000);
