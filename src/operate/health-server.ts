import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Abortable } from "../lib/abortable.ts";
import type { Clock, Milliseconds } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import { untilItWorks } from "../lib/until-it-works.ts";
import type { Liveness } from "./liveness.ts";

/** How often loops are looked at, whoever asks how often: between two looks a loop must have made a step. */
const LOOK_EVERY: Milliseconds = 10_000;
const LISTEN_AGAIN: Milliseconds = 5_000;
const CANNOT_LISTEN = "how we are cannot be asked at --healthz-port; trying again";
/** Who asks is a kubelet or a person, with a line or two. Whoever keeps us busy beyond that is cut off. */
const LIMITS = { headersTimeout: 5_000, requestTimeout: 5_000, connectionsCheckingInterval: 2_500 };
const MOST_CONNECTIONS = 64;

/** `--healthz-ip` and `--healthz-port`. */
export interface HealthAddress {
  readonly host: string;
  readonly port: number;
}

export interface HealthServerOptions extends Abortable {
  readonly address: HealthAddress;
  readonly liveness: Liveness;
  /** Whether what we are there for is done at present. */
  readonly isReady: () => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Says over HTTP how we are, in the words of later releases of flannel. `/healthz`: no loop is stuck, else 503 and which; a store that
 * is away makes nobody unwell. `/readyz`: 503 as long as this host has no subnet. Rejects only by the signal: a port that cannot be had
 * is told in the log, and tried again.
 */
export async function serveHealth(options: HealthServerOptions): Promise<never> {
  const { address, clock, logger, signal } = options;
  let stuck: readonly string[] = [];
  const answer = (path: string) => answerTo(path, { stuck, isReady: options.isReady() });
  const listening = untilItWorks(() => listen(address, answer, { signal }), CANNOT_LISTEN, {
    clock,
    logger,
    signal,
    delay: () => LISTEN_AGAIN,
  });
  const look = options.liveness.observer();
  const looking = async (): Promise<never> => {
    for (;;) {
      stuck = look();
      await clock.sleep(LOOK_EVERY, { signal });
    }
  };
  return await Promise.race([listening, looking()]);
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

function answerTo(path: string, { stuck, isReady }: { stuck: readonly string[]; isReady: boolean }): Answer {
  if (path === "/healthz")
    return stuck.length === 0
      ? { status: 200, text: "flanneld is running" }
      : { status: 503, text: `flanneld is stuck: ${stuck.join(", ")}` };
  if (path === "/readyz")
    return isReady ? { status: 200, text: "flanneld is ready" } : { status: 503, text: "flanneld is not ready yet" };
  return { status: 404, text: "there are /healthz and /readyz" };
}

/** Rejects when it no longer listens, and by the signal. */
async function listen(
  { host, port }: HealthAddress,
  answer: (path: string) => Answer,
  { signal }: Abortable,
): Promise<never> {
  signal.throwIfAborted();
  const server = createServer(answer);
  const over = Promise.withResolvers<never>();
  const stop = () => over.reject(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  try {
    server.on("error", over.reject).listen(port, host);
    return await over.promise;
  } finally {
    signal.removeEventListener("abort", stop);
    server.close();
    server.closeAllConnections();
  }
}

function createServer(answer: (path: string) => Answer): Server {
  const server = process.getBuiltinModule("node:http").createServer(LIMITS, (request, response) => {
    const { status, text } = isQuestion(request) ? answer(pathOf(request)) : { status: 405, text: "GET only" };
    reply(request, response, status, text);
  });
  server.maxConnections = MOST_CONNECTIONS;
  return server;
}

function isQuestion({ method }: IncomingMessage): boolean {
  return method === "GET" || method === "HEAD";
}

function pathOf({ url = "" }: IncomingMessage): string {
  return url.replace(/\?.*/s, "");
}

function reply(request: IncomingMessage, response: ServerResponse, status: number, text: string): void {
  const body = Buffer.from(text);
  response.writeHead(status, {
    "Content-Type": "text/plain; charset=utf-8",
    "Content-Length": body.length,
    Connection: "close",
  });
  response.end(request.method === "HEAD" ? undefined : body);
}
