/**
 * node long-poller-program.ts PORT CLIENTS: clients of a flannel server that do nothing but wait for the next change. Lines on its input tell
 * it to `ask CURSOR`, which it answers with "asked" once all have, and to `hear`: then it waits until all are answered and says when each
 * was, as JSON. It works with plain system calls and is a process of its own, so that what is measured is the server.
 */
import { readSync, writeSync } from "node:fs";
import koffi from "koffi";

const libc = koffi.load(null);
const cSocket = libc.func("int socket(int domain, int type, int protocol)");
const cConnect = libc.func("int connect(int fd, const uint8_t *address, uint32_t size)");
const cSend = libc.func("long send(int fd, const uint8_t *data, size_t length, int flags)");
const cRecv = libc.func("long recv(int fd, _Out_ uint8_t *data, size_t length, int flags)");
const cEpollCreate = libc.func("int epoll_create1(int flags)");
const cEpollControl = libc.func("int epoll_ctl(int epoll, int operation, int fd, const uint8_t *event)");
const cEpollWait = libc.func("int epoll_wait(int epoll, _Out_ uint8_t *events, int most, int timeout)");

const AF_INET = 2;
const SOCK_STREAM = 1;
const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;
/** `struct epoll_event` is packed on x86 only. sys/epoll.h */
const EVENT = process.arch === "x64" ? { size: 12, data: 4 } : { size: 16, data: 8 };
const MOST_EVENTS = 512;
/** How long anything may take, ms. */
const PATIENCE = 120_000;

const [port = "", count = ""] = process.argv.slice(2);
const clients = Number(count);
const epoll = required(cEpollCreate(0), "epoll_create1");
const fds = Array.from({ length: clients }, connected);
const events = Buffer.alloc(MOST_EVENTS * EVENT.size);
const answer = Buffer.alloc(65_536);

for (let line = readLine(); line !== undefined; line = readLine()) {
  const [verb, cursor = ""] = line.split(" ");
  if (verb === "ask") ask(cursor);
  else if (verb === "hear") say(JSON.stringify(hear()));
  else throw new Error(`asked to ${line}`);
}

function connected(): number {
  const address = Buffer.alloc(16);
  address.writeUInt16LE(AF_INET);
  address.writeUInt16BE(Number(port), 2);
  address.set([127, 0, 0, 1], 4);
  const fd = required(cSocket(AF_INET, SOCK_STREAM, 0), "socket");
  required(cConnect(fd, address, address.length), "connect");
  const event = Buffer.alloc(EVENT.size);
  event.writeUInt32LE(EPOLLIN);
  event.writeUInt32LE(fd, EVENT.data);
  required(cEpollControl(epoll, EPOLL_CTL_ADD, fd, event), "epoll_ctl");
  return fd;
}

function ask(cursor: string): void {
  const request = Buffer.from(`GET /v1/_/leases?next=${cursor} HTTP/1.1\r\nHost: bench\r\n\r\n`);
  for (const fd of fds) required(cSend(fd, request, request.length, 0), "send");
  say("asked");
}

/** Reads one answer of each. @returns when it was there, as `process.hrtime()` counts, ms; and the cursor that they tell */
function hear() {
  const times: number[] = [];
  let cursor: string | undefined;
  while (times.length < clients) {
    const ready = required(cEpollWait(epoll, events, MOST_EVENTS, PATIENCE), "epoll_wait");
    if (ready === 0) throw new Error(`only ${times.length} of ${clients} have been answered`);
    for (let index = 0; index < ready; index++) {
      const length = required(
        cRecv(events.readUInt32LE(index * EVENT.size + EVENT.data), answer, answer.length, 0),
        "recv",
      );
      times.push(Number(process.hrtime.bigint()) / 1e6);
      if (answer.toString("latin1", length - 3, length) !== '"}\n')
        throw new Error(`no whole answer, or none at all: ${answer.toString("latin1", 0, length)}`);
      cursor ??= /"cursor":"(\d+)"/.exec(answer.toString("latin1", 0, length))?.[1];
    }
  }
  return { times, cursor };
}

function required(result: number, call: string): number {
  if (result < 0) throw new Error(`${call}: errno ${koffi.errno()}`);
  return result;
}

/** Undefined at the end. */
function readLine(): string | undefined {
  const bytes = Buffer.alloc(100);
  const length = readSync(0, bytes);
  return length === 0 ? undefined : bytes.toString("latin1", 0, length).trim();
}

function say(text: string): void {
  writeSync(1, `${text}\n`);
}
