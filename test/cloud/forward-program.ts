// Runs where a cloud's servers are to be reached: passes each connection on to a socket file, after a line with the address it came from.
// Arguments: address,port,file …
import { once } from "node:events";
import { connect, createServer } from "node:net";

for (const argument of process.argv.slice(2)) {
  const [address = "", port = "", file = ""] = argument.split(",");
  const server = createServer({ allowHalfOpen: true }, (incoming) => {
    const outgoing = connect({ path: file, allowHalfOpen: true });
    outgoing.write(`${(incoming.remoteAddress ?? "").replace(/^::ffff:/, "")}\n`);
    incoming.pipe(outgoing).pipe(incoming);
    for (const socket of [incoming, outgoing])
      socket.on("error", () => {
        incoming.destroy();
        outgoing.destroy();
      });
  });
  await once(server.listen(Number(port), address), "listening");
}
process.stdout.write("forwarding\n");
