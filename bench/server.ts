import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseAddress } from "../src/ip/address.ts";
import { parsePrefix } from "../src/ip/prefix.ts";
import { launcher } from "../src/lab/launcher.ts";
import { silentLogger } from "../src/lib/logger.ts";
import { formatCursor } from "../src/remote/cursor-text.ts";
import { openSqliteRegistry } from "../src/store/sqlite/sqlite-registry.ts";
import { cpuSeconds, residentMiB } from "../test/support/process-usage.ts";
import { percentile, type Report } from "./figures.ts";
import { LongPollers } from "./long-pollers.ts";

const CLIENTS = 5_000;
const EVENTS = 20;
const WARM_UP = 5;

/**
 * From the moment a lease is written until each of thousands of clients has heard of it; clients, writer and server share this machine.
 * Beside it the way of one store watch per client.
 */
export async function benchServer(report: Report, signal: AbortSignal): Promise<void> {
  await measure(
    "one watch for all",
    (file, port) => [launcher("flanneld"), `--embedded-store=${file}`, `--listen=127.0.0.1:${port}`],
    report,
    signal,
  );
  const naive = join(import.meta.dirname, "naive-server.ts");
  await measure(
    "one store watch per client",
    (file, port) => [process.execPath, naive, file, String(port)],
    report,
    signal,
  );
}

async function measure(
  title: string,
  argv: (file: string, port: number) => readonly string[],
  report: Report,
  signal: AbortSignal,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "flannel-bench-"));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rmSync(directory, { recursive: true }));
  const file = join(directory, "store.db");
  const registry = cleanup.use(await openSqliteRegistry(file, { logger: silentLogger }, { signal }));
  await registry.setConfig("", '{"Network":"10.0.0.0/8"}', { signal });
  const port = await freePort();
  const server = await startServer(argv(file, port), port, directory);
  cleanup.defer(async () => {
    server.kill("SIGKILL");
    if (server.exitCode === null && server.signalCode === null) await once(server, "exit");
  });
  const pid = server.pid ?? 0;
  const idle = residentMiB(pid);
  const { cursor } = await registry.listLeases("", { signal });
  await using clients = new LongPollers(port, CLIENTS);
  await clients.ask(formatCursor(cursor));
  await delay(1_000);
  const waiting = residentMiB(pid);
  const spent = { server: 0, clients: 0, whole: 0 };
  const times: number[] = [];
  for (let event = 0; event < WARM_UP + EVENTS; event++) {
    const claim = {
      subnet: parsePrefix(`10.1.${event}.0/24`),
      attributes: { publicIP: parseAddress(`192.0.2.${event}`), backendType: "host-gw" },
      isReservation: false,
    };
    const before = { server: cpuSeconds(pid), clients: cpuSeconds(clients.pid) };
    const heard = await clients.hear(async () => void (await registry.createLease("", claim, { signal })));
    const after = { server: cpuSeconds(pid), clients: cpuSeconds(clients.pid) };
    await clients.ask(heard.cursor);
    await delay(500);
    if (event < WARM_UP) continue;
    times.push(...heard.times);
    spent.server += after.server - before.server;
    spent.clients += after.clients - before.clients;
    spent.whole += cpuSeconds(pid) - before.server;
  }
  const perEvent = (seconds: number) => (seconds * 1000) / EVENTS;
  const what = `${CLIENTS} clients, ${title}:`;
  report({ part: "server", what: `${what} write to client, p50`, value: percentile(times, 0.5), unit: "ms" });
  report({
    part: "server",
    what: `${what} write to client, p99`,
    value: percentile(times, 0.99),
    unit: "ms",
    aim: "≤ 250",
  });
  for (const [whose, seconds] of [
    ["server's CPU until all have heard", spent.server],
    ["the same with their next questions", spent.whole],
    ["the clients' CPU until all have heard", spent.clients],
  ] as const)
    report({ part: "server", what: `${what} ${whose}`, value: perEvent(seconds), unit: "ms" });
  report({
    part: "server",
    what: `${what} memory per client`,
    value: ((waiting - idle) * 1024) / CLIENTS,
    unit: "KiB",
  });
  report({ part: "server", what: `${what} RSS`, value: residentMiB(pid), unit: "MiB" });
}

async function startServer(argv: readonly string[], port: number, directory: string): Promise<ChildProcess> {
  const [program = "", ...args] = argv;
  const state = program === process.execPath ? [] : [`--state-dir=${join(directory, "state")}`];
  const server = spawn(program, [...args, ...state], {
    stdio: "ignore",
    env: { NOTIFY_SOCKET: "/dev/null" }, // else a shell would stay between us and it
  });
  for (let tries = 0; tries < 100; tries++) {
    const answer = await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined);
    if (answer !== undefined || tries > 20) return server;
    await delay(100);
  }
  throw new Error("the server does not listen");
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
