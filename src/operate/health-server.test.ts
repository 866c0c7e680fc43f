import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { FakeClock } from "../lib/fake-clock.ts";
import type { Pulse } from "../lib/pulse.ts";
import { RecordingLogger } from "../lib/recording-logger.ts";
import { serveHealth } from "./health-server.ts";
import { Liveness } from "./liveness.ts";

const HOST = "127.0.0.1";

/** A listener at a port that was free. */
async function listener() {
  const server = createServer().listen(0, HOST);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    port,
    async close() {
      server.close();
      await once(server, "close");
    },
  };
}

async function served(port: number) {
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const liveness = new Liveness();
  const stop = new AbortController();
  const state = { isReady: false };
  const isReady = () => state.isReady;
  const { signal } = stop;
  const serving = serveHealth({ address: { host: HOST, port }, liveness, isReady, clock, logger, signal });
  const ended = serving.catch((error: unknown) => error);
  onTestFinished(async () => {
    stop.abort();
    await ended;
  });
  const ask = async (path: string, method = "GET") => {
    const response = await fetch(`http://${HOST}:${port}${path}`, { method });
    return `${response.status} ${await response.text()}`;
  };
  return { clock, logger, liveness, state, stop, ended, ask };
}

async function atFreePort() {
  const free = await listener();
  await free.close();
  return await served(free.port);
}

test("serveHealth() says that we run, and that we are ready as long as we are", async () => {
  const { ask, state } = await atFreePort();
  expect(await ask("/healthz")).toBe("200 flanneld is running");
  expect(await ask("/readyz")).toBe("503 flanneld is not ready yet");
  state.isReady = true;
  expect(await ask("/readyz?verbose")).toBe("200 flanneld is ready");
  expect(await ask("/readyz", "HEAD")).toBe("200 ");
  state.isReady = false;
  expect(await ask("/readyz")).toBe("503 flanneld is not ready yet");
});

test("serveHealth() names the loop that has something to do and makes no step, until it goes on", async () => {
  const { ask, clock, liveness } = await atFreePort();
  let pulse: Pulse = { steps: 7, isDue: true };
  using _ = liveness.watch("the reconcile loop", () => pulse);
  await clock.advance(10_000);
  expect(await ask("/healthz")).toBe("200 flanneld is running"); // seen once
  await clock.advance(10_000);
  for (let time = 0; time < 3; time++) expect(await ask("/healthz")).toBe("503 flanneld is stuck: the reconcile loop");
  pulse = { steps: 8, isDue: true };
  await clock.advance(10_000);
  expect(await ask("/healthz")).toBe("200 flanneld is running");
});

test("serveHealth() does nothing else for anybody", async () => {
  const { ask } = await atFreePort();
  expect(await ask("/")).toBe("404 there are /healthz and /readyz");
  expect(await ask("/healthz/x")).toMatch(/^404 /);
  expect(await ask("/healthz", "POST")).toBe("405 GET only");
});

test("serveHealth() says once that its port is somebody else's, and has it once it is free", async () => {
  const other = await listener();
  const { ask, clock, logger } = await served(other.port);
  while (logger.lines.length === 0) await new Promise(setImmediate);
  await clock.advance(20_000);
  await other.close();
  await clock.advance(5_000);
  expect(await ask("/healthz")).toBe("200 flanneld is running");
  expect(logger.lines).toMatchObject([{ level: "warn", fields: { reason: expect.stringContaining("EADDRINUSE") } }]);
});

test("serveHealth() ends by the signal, and its port is free then", async () => {
  const { ask, stop, ended } = await atFreePort();
  await ask("/healthz");
  stop.abort(new Error("enough"));
  expect(await ended).toEqual(new Error("enough"));
  await expect(ask("/healthz")).rejects.toThrow("fetch failed");
});
