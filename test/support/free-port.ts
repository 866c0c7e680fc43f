import { once } from "node:events";
import { createServer } from "node:net";

/** Ports of each vitest worker, which are numbered from 1: files that run beside each other are never given the same one. */
const SHARE = 2_000;
const [FIRST, WORKERS] = [10_000, 10]; // below net.ipv4.ip_local_port_range
const own = FIRST + (Number(process.env["VITEST_POOL_ID"] ?? 0) % WORKERS) * SHARE;
let latest = Math.floor(Math.random() * SHARE);

/**
 * A TCP port of 127.0.0.1 that nobody has now, that no connection is given by chance, and that nobody is told of again soon: a server that is
 * stopped finds it free when it starts again.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    latest = (latest + 1) % SHARE;
    const port = own + latest;
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
