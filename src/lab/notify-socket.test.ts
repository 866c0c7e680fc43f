import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sendDatagram } from "../kernel/datagram.ts";
import { NotifySocket } from "./notify-socket.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "notify-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

function say(socket: NotifySocket, text: string) {
  sendDatagram(socket.path, Buffer.from(text));
}

test("NotifySocket.ready() resolves when READY=1 comes, whatever else is told", async () => {
  using socket = new NotifySocket(join(directory, "notify"));
  let isReady = false;
  const ready = socket.ready({ signal: AbortSignal.timeout(60_000) }).then(() => (isReady = true));
  say(socket, "STATUS=NOTREADY=1\nRELOADING=1");
  await new Promise((resolve) => setImmediate(() => setImmediate(() => setImmediate(resolve))));
  expect(isReady).toBe(false);
  say(socket, "STATUS=up\nREADY=1");
  expect(await ready).toBe(true);
});

test("NotifySocket.ready() wakes a program that waits for nothing else", async () => {
  using socket = new NotifySocket(join(directory, "notify"));
  const ready = socket.ready({ signal: AbortSignal.timeout(60_000) }); // not by this timer, which rejects
  setTimeout(() => say(socket, "READY=1"), 5);
  await ready;
});

test("NotifySocket replaces what an earlier one left, and leaves nothing itself", () => {
  const path = join(directory, "notify");
  const first = new NotifySocket(path);
  using second = new NotifySocket(path);
  expect(second.path).toBe(path);
  first[Symbol.dispose]();
  expect(existsSync(path)).toBe(false);
});

test("NotifySocket refuses a path that no socket address holds", () => {
  expect(() => new NotifySocket(join(directory, "n".repeat(108)))).toThrow("too long");
});
