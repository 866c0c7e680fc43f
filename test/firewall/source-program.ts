/** node source-program.ts: tells everybody who connects to TCP port 7788, or sends a datagram to UDP port 7788, which address it sees; multicast it prints. */
import { createSocket } from "node:dgram";
import { createServer } from "node:net";

const PORT = 7788;
const GROUP = "239.1.2.3";
const GROUP_IPV6 = "ff05::1:2:3";

const server = createServer((socket) =>
  socket.on("error", () => {}).end(String(socket.remoteAddress).replace("::ffff:", "")),
);
const [iface] = process.argv.slice(2);
const isIPv6 = iface?.includes(":") ?? false;
const datagrams = createSocket({ type: isIPv6 ? "udp6" : "udp4", reuseAddr: true });
datagrams.on("message", (_, { address }) => console.log(`multicast from ${address}`));
datagrams.bind(PORT, () => {
  if (iface !== undefined) datagrams.addMembership(isIPv6 ? GROUP_IPV6 : GROUP, iface);
  server.listen(PORT, () => console.log("listening"));
});
