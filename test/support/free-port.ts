import { once } from "node:events";
import { createServer } from "node:net";

/**
 * A TCP port of 127.0.0.1 that nobody has now, and that no connection is given by chance: a server that is stopped finds it free
 * when it starts again.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000); // below net.ipv4.ip_local_port_range
    const server = createServer().listen(port, "127.0.0.1");
    try {
      await once(server, "listening");
    } catch {
      continue; // somebody's
    }
    server.close();
    await once(server, "close");
    return port;
  }
}
