// Many clients of one server: what they cost the store, and what those cost that are gone or slow.
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { connect as connectByTls } from "node:tls";
import { afterEach, beforeEach, expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import type { Cursor, NetworkName } from "../../src/lease/lease.ts";
import type { Abortable } from "../../src/lib/abortable.ts";
import { type Clock, systemClock } from "../../src/lib/clock.ts";
import { FakeClock } from "../../src/lib/fake-clock.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { Scope } from "../../src/lib/scope.ts";
import { epochOf } from "../../src/remote/cursor-text.ts";
import { LeaseHub } from "../../src/remote/lease-hub.ts";
import { LeaseHubs } from "../../src/remote/lease-hubs.ts";
import type { PollAnswer } from "../../src/remote/poll.ts";
import { MemoryRegistry } from "../../src/store/memory/memory-registry.ts";
import { MemoryStore } from "../../src/store/memory/memory-store.ts";
import { RegistrySubnetManager } from "../../src/store/registry-subnet-manager.ts";
import { makeCertificates } from "../support/certificates.ts";
import { ask } from "./raw-http.ts";
import { serve } from "./serving.ts";

/** Counts what the store is asked for. */
class CountingRegistry extends MemoryRegistry {
  watches = 0;
  openWatches = 0;
  listings = 0;

  override async *watchLeases(network: NetworkName, since: Cursor, options: Abortable) {
    this.watches++;
    this.openWatches++;
    try {
      yield* super.watchLeases(network, since, options);
    } finally {
      this.openWatches--;
    }
  }

  override listLeases(network: NetworkName, options: Abortable) {
    this.listings++;
    return super.listLeases(network, options);
  }
}

const { signal } = new AbortController();
let cleanup: AsyncDisposableStack;
let registry: CountingRegistry;
beforeEach(() => {
  cleanup = new AsyncDisposableStack();
  const store = new MemoryStore({ clock: systemClock });
  store.setConfig("", '{"Network":"10.5.0.0/16"}');
  registry = cleanup.use(new CountingRegistry(store, { logger: silentLogger }));
});
afterEach(() => cleanup.disposeAsync());

const lease = (number: number) =>
  registry.createLease(
    "",
    {
      subnet: parsePrefix(`10.5.${number}.0/24`),
      attributes: { publicIP: parseAddress("192.0.2.1") },
      isReservation: false,
    },
    { signal },
  );

/** What hubs need, with the store that counts. */
function hubParts(scope: Scope, clock: Clock) {
  return {
    manager: new RegistrySubnetManager(registry, { clock, logger: silentLogger }),
    book: registry,
    clock,
    logger: silentLogger,
    onHistory: () => undefined,
    spawn: scope.spawn.bind(scope),
  };
}

/** A poll from where the hub's leases are now, which must have to wait. */
async function pendingPoll(hub: LeaseHub) {
  const { cursor } = await hub.snapshot();
  const pending = await hub.poll({ since: { epoch: epochOf(cursor.history), index: cursor.index }, dialect: "0.7" });
  if (pending === "snapshot" || "body" in pending) throw new Error("answered at once");
  return pending;
}

test("LeaseHub has one watch on the store and one listing for a thousand clients, and forgets those that go", async () => {
  const scope = cleanup.use(new Scope());
  const hub = new LeaseHub({ ...hubParts(scope, systemClock), network: "" }, scope);
  const snapshots = await Promise.all(Array.from({ length: 1_000 }, () => hub.snapshot()));
  expect(new Set(snapshots.map((snapshot) => snapshot.body("0.7"))).size).toBe(1);
  expect(registry.listings).toBe(1);
  const answers: PollAnswer[] = [];
  const leaves: (() => void)[] = [];
  for (let client = 0; client < 1_000; client++) {
    const pending = await pendingPoll(hub);
    leaves.push(pending.wait((answer) => answers.push(answer)));
  }
  expect(hub.waiting).toBe(1_000);
  for (const leave of leaves.slice(500)) leave();
  expect(hub.waiting).toBe(500);
  await lease(1);
  await waitUntil(() => answers.length === 500, { signal, within: 20_000, what: "those who stayed are answered" });
  for (const leave of leaves) leave();
  expect(new Set(answers).size).toBe(1); // put into words once
  expect(hub.waiting).toBe(0);
  expect(registry.watches).toBe(1);
});

test("LeaseHubs watch a network as long as anybody asks for it, and again when somebody comes back", async () => {
  const clock = new FakeClock();
  const scope = cleanup.use(new Scope());
  const hubs = new LeaseHubs(hubParts(scope, clock), scope);
  const answers: PollAnswer[] = [];
  const leave = (await pendingPoll(hubs.of(""))).wait((answer) => answers.push(answer));
  await clock.advance(60 * 60_000);
  expect(registry).toMatchObject({ watches: 1, openWatches: 1 });
  leave();
  await clock.advance(9 * 60_000);
  expect(registry).toMatchObject({ watches: 1, openWatches: 1 });
  (await pendingPoll(hubs.of(""))).wait(() => undefined)();
  await clock.advance(9 * 60_000);
  expect(registry.openWatches).toBe(1);
  const late = await pendingPoll(hubs.of(""));
  await clock.advance(11 * 60_000);
  expect(registry.openWatches).toBe(0);
  late.wait((answer) => answers.push(answer));
  expect(answers).toEqual(["snapshot"]);
  (await pendingPoll(hubs.of(""))).wait((answer) => answers.push(answer));
  await lease(1);
  await clock.advance(1_000);
  expect(answers).toMatchObject(["snapshot", { body: expect.stringContaining("10.5.1.0/24") }]);
  expect(registry).toMatchObject({ watches: 2, openWatches: 1 });
});

test("a client that goes away in the midst of a watch is forgotten at once, and one that sends too slowly is cut off, behind TLS, too", async () => {
  const serving = cleanup.use(await serve(registry));
  const { cursor } = JSON.parse((await ask(serving.port, "GET", "/v1/_/leases")).body) as { readonly cursor: string };
  for (let client = 0; client < 50; client++) {
    const socket = connect(serving.port, "127.0.0.1");
    await once(socket, "connect");
    socket.write(`GET /v1/_/leases?next=${cursor} HTTP/1.1\r\nHost: x\r\n\r\n`);
    if (client % 2 === 0) socket.resetAndDestroy();
    else socket.end();
  }
  const plain = connect(serving.port, "127.0.0.1");
  await once(plain, "connect");
  const secure = connectByTls({ port: await securePort(), host: "127.0.0.1", rejectUnauthorized: false });
  await once(secure, "secureConnect");
  const cutOff = Promise.all([plain, secure].map(slowRequest));
  const waiting = ask(serving.port, "GET", `/v1/_/leases?next=${cursor}`);
  await delay(200);
  await lease(1);
  expect((await waiting).body).toContain("10.5.1.0/24");
  for (const answer of await cutOff) expect(answer).toMatch(/^HTTP\/1\.1 408 Request Timeout\r\n/);
  expect(registry.watches).toBe(1);
});

/** Of a server with a certificate. */
async function securePort(): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), "remote-crowd-"));
  cleanup.defer(() => rmSync(directory, { recursive: true }));
  const files = { certificate: makeCertificates(directory).server };
  return cleanup.use(await serve(registry, { files })).port;
}

/** Sends the beginning of a request and no more. @returns what the server says before it closes the connection */
async function slowRequest(socket: Socket): Promise<string> {
  let answer = "";
  socket.setEncoding("latin1").on("data", (text: string) => (answer += text));
  socket.write("POST /v1/_/leases HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{");
  await once(socket, "close");
  return answer;
}
