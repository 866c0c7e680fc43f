// What those get who have waited: thousands are answered at once, by bytes made once for all.
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { MemoryRegistry } from "../../src/store/memory/memory-registry.ts";
import { MemoryStore } from "../../src/store/memory/memory-store.ts";
import { ask, rawExchange } from "./raw-http.ts";
import { type Serving, serve } from "./serving.ts";

const { signal } = new AbortController();
let cleanup: AsyncDisposableStack;
let registry: MemoryRegistry;
let serving: Serving;
let cursor: string;
beforeEach(async () => {
  cleanup = new AsyncDisposableStack();
  const store = new MemoryStore({ clock: systemClock });
  store.setConfig("", '{"Network":"10.5.0.0/16"}');
  registry = cleanup.use(new MemoryRegistry(store, { logger: silentLogger }));
  serving = cleanup.use(await serve(registry));
  ({ cursor } = JSON.parse((await ask(serving.port, "GET", "/v1/_/leases")).body) as { readonly cursor: string });
});
afterEach(() => cleanup.disposeAsync());

/** What the server sends to somebody who has sent these bytes before something happens. */
async function waited(bytes: string): Promise<string> {
  const answer = rawExchange(serving.port, bytes, { quiet: 600 });
  await delay(200);
  const attributes = { publicIP: parseAddress("192.0.2.7") };
  await registry.createLease("", { subnet: parsePrefix("10.5.7.0/24"), attributes, isReservation: false }, { signal });
  return await answer;
}

const withoutDate = (answer: string) =>
  answer.replaceAll(/^Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT/gm, "Date:");

test.each([
  ["HTTP/1.1", "Host: x\r\n"],
  ["HTTP/1.1", "Host: x\r\nConnection: keep-alive\r\nX-Flannel-Client: 1\r\n"],
  ["HTTP/1.1", "Host: x\r\nConnection: close\r\n"],
  ["HTTP/1.0", ""],
  ["HTTP/1.0", "Connection: keep-alive\r\n"],
])("who waited is told the same, byte for byte, as who is answered at once: %s %j", async (version, fields) => {
  const bytes = `GET /v1/_/leases?next=${cursor} ${version}\r\n${fields}\r\n`;
  const answer = await waited(bytes);
  expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*"Subnet":"10\.5\.7\.0\/24"[^]*\}\n$/);
  expect(withoutDate(answer)).toBe(withoutDate(await rawExchange(serving.port, bytes, { quiet: 300 })));
});

test("who waited has asked more meanwhile on the same connection, and is answered in order", async () => {
  const poll = `GET /v1/_/leases?next=${cursor} HTTP/1.1\r\nHost: x\r\n\r\n`;
  const answer = await waited(`${poll}GET /v1/_/config HTTP/1.1\r\nHost: x\r\n\r\n${poll}`);
  const bodies = answer.split(/HTTP\/1\.1 200 OK\r\n[^]*?\r\n\r\n/).map((body) => body.slice(0, 12));
  expect(bodies).toEqual(["", '{"events":[{', '{"Network":"', '{"events":[{']);
});
