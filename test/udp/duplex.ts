import { createInterface } from "node:readline";
import type { Place } from "../../src/lab/place.ts";
import { ended } from "../../src/lab/program.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import type { Abortable } from "../../src/lib/abortable.ts";

/** Both ends are the same: each sends bytes of a stream cipher, keyed by its side, and tells the hash of what it has sent and received. */
const END = `
  const { createCipheriv, createHash } = require("node:crypto");
  const { connect, createServer } = require("node:net");
  const [side, address, port, bytes] = process.argv.slice(1);
  const zeros = Buffer.alloc(1 << 18);
  async function exchange(socket) {
    const hash = createHash("sha256");
    let received = 0;
    socket.on("data", (part) => { hash.update(part); received += part.length; });
    const arrived = new Promise((resolve) => socket.once("end", resolve));
    const cipher = createCipheriv("aes-128-ctr", Buffer.alloc(16, side), Buffer.alloc(16, Number(port)));
    const own = createHash("sha256");
    for (let left = Number(bytes); left > 0; left -= zeros.length) {
      const part = cipher.update(left < zeros.length ? zeros.subarray(0, left) : zeros);
      own.update(part);
      if (!socket.write(part)) await new Promise((resolve) => socket.once("drain", resolve));
    }
    socket.end();
    await arrived;
    console.log(JSON.stringify({ sent: own.digest("hex"), received: hash.digest("hex"), bytes: received }));
  }
  if (side === "server") {
    const server = createServer({ allowHalfOpen: true }, (socket) => { server.close(); exchange(socket); });
    server.listen(Number(port), () => console.log("listening"));
  } else {
    const socket = connect({ host: address, port: Number(port), allowHalfOpen: true }, () => exchange(socket));
  }`;

interface EndReport {
  readonly sent: string;
  readonly received: string;
  readonly bytes: number;
}

interface DuplexOptions extends Abortable {
  /** In each direction of each stream. */
  readonly bytes: number;
  /** 1 */
  readonly streams?: number;
}

/** What arrived, and whether it was all that was sent. */
export interface DuplexResult {
  /** Bytes that arrived at one or the other end. */
  readonly bytes: number;
  /** Whether for every stream and direction the hash of what arrived is that of what was sent. */
  readonly isIntact: boolean;
  readonly seconds: number;
}

/** Sends data over TCP in both directions at once, each stream by itself. */
export async function duplex(
  from: Place,
  to: Place,
  { bytes, streams = 1, signal }: DuplexOptions,
): Promise<DuplexResult> {
  const ports = Array.from({ length: streams }, (_, index) => 7800 + index);
  const start = (place: Place, side: string, port: number) => {
    const argv = [process.execPath, "-e", END, side, to.address, String(port), String(bytes)];
    const child = place.spawn(argv, { stdio: ["ignore", "pipe", "inherit"] });
    const lines: string[] = [];
    if (child.stdout !== null) createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
    return { child, lines, end: ended(child) };
  };
  const servers = ports.map((port) => start(to, "server", port));
  const clients: typeof servers = [];
  try {
    await waitUntil(() => servers.every(({ lines }) => lines.includes("listening")), {
      signal,
      within: 30_000,
      what: "the servers listen",
    });
    const begin = performance.now();
    clients.push(...ports.map((port) => start(from, "client", port)));
    const onAbort = () => all().forEach(({ child }) => child.kill("SIGKILL"));
    signal.addEventListener("abort", onAbort, { once: true });
    const codes = await Promise.all(all().map(({ end }) => end));
    signal.removeEventListener("abort", onAbort);
    signal.throwIfAborted();
    const seconds = (performance.now() - begin) / 1000;
    const reports = ({ lines }: (typeof servers)[number]) => JSON.parse(lines.at(-1) ?? "{}") as EndReport;
    const pairs = servers.map((server, index) => [reports(server), reports(clients[index] ?? server)] as const);
    return {
      bytes: pairs.reduce((sum, [server, client]) => sum + server.bytes + client.bytes, 0),
      isIntact:
        codes.every((code) => code === 0) &&
        pairs.every(([server, client]) => server.sent === client.received && client.sent === server.received),
      seconds,
    };
  } finally {
    for (const { child } of all()) child.kill("SIGKILL");
  }

  function all() {
    return [...servers, ...clients];
  }
}
