import type { Place } from "../../src/lab/place.ts";
import { ended } from "../../src/lab/program.ts";
import type { Abortable } from "../../src/lib/abortable.ts";
import { saysOnce } from "./tcp.ts";

const RECEIVE = `
  const hash = require("node:crypto").createHash("sha256");
  const server = require("node:net").createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("data", (bytes) => hash.update(bytes));
    socket.on("end", () => { socket.end(hash.digest("hex")); server.close(); });
  });
  server.listen(7778, () => console.log("listening"));`;

/** 20 KB of noise every 5 ms, 4 MB/s, until its input ends. */
const SEND = `
  const { createHash, randomBytes } = require("node:crypto");
  const hash = createHash("sha256");
  const socket = require("node:net").connect({ host: process.argv[1], port: 7778, allowHalfOpen: true });
  let sent = 0;
  const timer = setInterval(() => {
    const bytes = randomBytes(20_000);
    hash.update(bytes);
    sent += bytes.length;
    socket.write(bytes);
  }, 5);
  socket.once("connect", () => console.log("connected"));
  process.stdin.on("end", () => { clearInterval(timer); socket.end(); }).resume();
  let received = "";
  socket.on("data", (text) => (received += text));
  socket.on("end", () => console.log(JSON.stringify({ sent, isWhole: received === hash.digest("hex") })));
  socket.on("error", (error) => console.log(JSON.stringify({ sent, isWhole: false, error: String(error) })));`;

export interface StreamResult {
  /** Bytes. */
  readonly sent: number;
  /** Whether all of them arrived as they were, as the other side's hash of them says. */
  readonly isWhole: boolean;
}

/** Keeps one TCP connection busy during an action. */
export async function streamDuring(
  from: Place,
  { to, signal }: Abortable & { readonly to: Place },
  action: () => Promise<void>,
): Promise<StreamResult> {
  const receiver = to.spawn([process.execPath, "-e", RECEIVE], { stdio: ["ignore", "pipe", "inherit"] });
  const receiverEnd = ended(receiver);
  await saysOnce(receiver.stdout, "listening", { signal });
  const sender = from.spawn([process.execPath, "-e", SEND, to.address], { stdio: ["pipe", "pipe", "inherit"] });
  const senderEnd = ended(sender);
  try {
    let said = "";
    sender.stdout?.on("data", (text: Buffer) => (said += text.toString()));
    await saysOnce(sender.stdout, "connected", { signal });
    await action();
    sender.stdin?.end();
    await senderEnd;
    return JSON.parse(said.slice(said.indexOf("{"))) as StreamResult;
  } finally {
    sender.kill("SIGKILL");
    receiver.kill("SIGKILL");
    await Promise.all([senderEnd, receiverEnd]);
  }
}
