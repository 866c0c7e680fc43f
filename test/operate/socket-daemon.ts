// A daemon with nothing but a UDP socket, which it has kept for the next one. Says what happens, one line each.
import { openKeeper } from "../../src/cli/open-keeper.ts";
import { bind, MSG_DONTWAIT, onReadable, recv, SOCK_DGRAM, socket } from "../../src/kernel/libc.ts";
import type { LogFields, Logger } from "../../src/lib/logger.ts";
import { takeInherited } from "../../src/operate/inherited.ts";

const AF_INET = 2;
const MSG_PEEK = 2;
const [stateDir = "", port = "", timeout = ""] = process.argv.slice(2);

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function log(level: string) {
  return (message: string, fields: LogFields = {}) => say(`${level}: ${message} ${JSON.stringify(fields)}`);
}

const logger: Logger = {
  debugs: true,
  error: log("error"),
  warn: log("warn"),
  info: log("info"),
  debug: log("debug"),
  child: () => logger,
};

process.once("uncaughtException", (error) => {
  say(`failed: ${String(error)}`);
  process.exit(1);
});

const stop = new AbortController();
process.once("SIGTERM", () => stop.abort());
const { signal } = stop;

const { descriptors: inherited, complaints } = takeInherited(process.env, process.pid);
for (const complaint of complaints) say(`complaint: ${complaint}`);
say(`environment: ${Object.keys(process.env).filter((name) => name.startsWith("LISTEN_")).length}`);
const keeper = openKeeper({
  network: "",
  stateDir,
  timeout: Number(timeout) * 1000,
  env: process.env,
  inherited,
  logger,
});
const taken = await keeper.take(["udp"], { signal });
const fd = taken.get("udp") ?? bound();
say(taken.has("udp") ? "taken" : "bound");
const text = new TextDecoder();
const buffer = new Uint8Array(2048);
using _reading = onReadable(fd, () => {
  for (let length = 0; (length = recv(fd, buffer, MSG_DONTWAIT | MSG_PEEK)) > 0; recv(fd, buffer, MSG_DONTWAIT))
    say(`got ${text.decode(buffer.subarray(0, length))}`); // before it is taken: no moment to be killed in and lose it
});
await keeper.keep(new Map([["udp", fd]]), { signal });
say("kept");
process.stdin.once("data", () => process.kill(process.pid, "SIGSEGV"));
if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
await keeper[Symbol.asyncDispose]();
process.exit();

function bound(): number {
  const fd = socket(AF_INET, SOCK_DGRAM, 0);
  const address = Buffer.alloc(16);
  address.writeUInt16LE(AF_INET);
  address.writeUInt16BE(Number(port), 2);
  bind(fd, address); // EADDRINUSE if another has it, which ends this
  return fd;
}
