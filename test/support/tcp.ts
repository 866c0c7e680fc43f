import { createHash, randomBytes } from "node:crypto";
import type { Place } from "../../src/lab/place.ts";
import { ended } from "../../src/lab/program.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import type { Abortable } from "../../src/lib/abortable.ts";

const RECEIVE = `
  const hash = require("node:crypto").createHash("sha256");
  const server = require("node:net").createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("data", (bytes) => hash.update(bytes));
    socket.on("end", () => { socket.end(hash.digest("hex")); server.close(); });
  });
  server.listen(7777, () => console.log("listening"));`;

const SEND = `
  const socket = require("node:net").connect({ host: process.argv[1], port: 7777, allowHalfOpen: true });
  process.stdin.pipe(socket);
  socket.pipe(process.stdout);`;

/** Sends bytes over TCP from one pod to another. @returns whether just these bytes arrived, as the other side's hash of them says */
export async function tcpDelivers(
  from: Place,
  to: Place,
  { signal, bytes = 1_000_000 }: Abortable & { bytes?: number },
) {
  const receiver = to.spawn([process.execPath, "-e", RECEIVE], { stdio: ["ignore", "pipe", "inherit"] });
  const end = ended(receiver);
  try {
    await saysOnce(receiver.stdout, "listening", { signal });
    const input = randomBytes(bytes / 2).toString("hex");
    const received = await from.run([process.execPath, "-e", SEND, to.address], { signal, input });
    return received === createHash("sha256").update(input).digest("hex");
  } finally {
    receiver.kill("SIGKILL");
    await end;
  }
}

interface Iperf3Options extends Abortable {
  readonly seconds?: number;
  /** Parallel streams, 1. */
  readonly streams?: number;
  /** More flags of the client, as -u. */
  readonly flags?: readonly string[];
}

/** TCP throughput between two pods. @returns received bits per second, and iperf3's own report */
export async function iperf3(from: Place, to: Place, { signal, seconds = 2, streams = 1, flags = [] }: Iperf3Options) {
  const server = to.spawn(["iperf3", "-s", "-1", "--forceflush"], { stdio: ["ignore", "pipe", "inherit"] });
  const end = ended(server);
  try {
    await saysOnce(server.stdout, "Server listening", { signal });
    const argv = ["iperf3", "-c", to.address, "-J", "-t", String(seconds), "-P", String(streams), ...flags];
    const report = JSON.parse(await from.run(argv, { signal })) as {
      readonly end: { readonly sum_received?: { readonly bits_per_second: number } };
    };
    return { bitsPerSecond: report.end.sum_received?.bits_per_second ?? 0, report };
  } finally {
    server.kill("SIGKILL");
    await end;
  }
}

/** Waits until a program has written `text`, and goes on reading so that it is never blocked. */
export async function saysOnce(
  stream: NodeJS.ReadableStream | null,
  text: string,
  { signal }: Abortable,
): Promise<void> {
  let said = "";
  stream?.setEncoding("utf8");
  stream?.on("data", (more: string) => (said += more));
  await waitUntil(() => said.includes(text), { signal, within: 30_000, what: `it says ${JSON.stringify(text)}` });
}
