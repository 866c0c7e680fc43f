import { expect, test } from "vitest";
import { EBADFD } from "../../kernel/errno.ts";
import type { SocketPort, TunPort } from "../../kernel/packet-ports.ts";
import { Arena } from "../../lib/arena.ts";
import { Checksum } from "../../wire/packet/checksum.ts";
import { BASE } from "./memory-host.ts";
import { Rehearsal } from "./rehearsal.ts";

/** Nothing comes of what is handed to these. */
const tun: TunPort = { read: () => -EBADFD, write: () => -EBADFD };
const socket: SocketPort = {
  receive: () => -EBADFD,
  send: () => -EBADFD,
  dropped: () => 0,
  limitSources: () => -EBADFD,
};

test.each([
  ["with all offloads", false],
  ["one by one", true],
])("Rehearsal carries every packet out and in again, %s, and comes to an end", (_, isPlain) => {
  const arena = new Arena(4 << 20);
  const rehearsal = new Rehearsal({ arena, base: BASE, checksum: new Checksum(arena), tun, socket, isPlain });
  let steps = 1;
  while (rehearsal.step()) steps++;
  expect(steps).toBe(100);
  expect(rehearsal.arrived).toBe(400);
  expect(rehearsal.drops).toBe(0);
});
