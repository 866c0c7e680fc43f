import type { ClientRequest, Agent as HttpAgent, IncomingMessage } from "node:http";
import type { Agent as HttpsAgent } from "node:https";
import { StoreRefusedError, StoreUnavailableError } from "../lease/errors.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Milliseconds } from "../lib/clock.ts";
import { describeError, InvalidConfigError, isReset } from "../lib/errors.ts";
import { describeTlsFailure, isTlsFailure, type TlsFiles, type TlsMaterial, TlsSource } from "../lib/tls-source.ts";
import { HEADERS } from "./headers.ts";
import { REMOTE_TLS_FLAGS } from "./tls-flags.ts";

// An import statement would evaluate all of node:http's lazy exports, undici among them: 50 ms and 15 MiB for nothing.
const http = process.getBuiltinModule("node:http");
/** Loaded only where it is used: 20 ms. */
const https = () => process.getBuiltinModule("node:https");

export interface HttpRequest {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** With the query. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** JSON. */
  readonly body?: string;
  /** How long the server may be silent: 5 s, but longer for a watch. Infinity if it may be for ever. */
  readonly patience?: Milliseconds;
}

export interface HttpAnswer {
  readonly endpoint: string;
  readonly status: number;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

/** How long a server may take to accept a connection, and be silent in the midst of an answer. */
const SILENCE: Milliseconds = 5_000;
const MOST_BYTES = 256 * 1024 * 1024;
/** Shorter than a server keeps an idle connection, so that it is seldom closed under a request. */
const IDLE: Milliseconds = 60_000;

/** Requests to flannel servers: connections kept, nothing followed, everything bounded in time and size. */
export class HttpClient implements Disposable {
  readonly #tls: TlsSource;
  readonly #options = { keepAlive: true, maxFreeSockets: 2, timeout: IDLE };
  #http: HttpAgent | undefined;
  #https: HttpsAgent | undefined;

  constructor(files: TlsFiles) {
    this.#tls = new TlsSource(files, REMOTE_TLS_FLAGS);
  }

  /** The whole answer, whatever its status. @throws {StoreUnavailableError}, {StoreRefusedError} if TLS fails */
  async exchange(endpoint: string, request: HttpRequest, { signal }: Abortable): Promise<HttpAnswer> {
    signal.throwIfAborted();
    for (;;) {
      const attempt = this.#send(endpoint, request, signal);
      try {
        const message = await attempt.response;
        attempt.request.setTimeout(SILENCE);
        return { endpoint, status: message.statusCode ?? 0, headers: message.headers, body: await readBody(message) };
      } catch (error) {
        signal.throwIfAborted();
        // The server had closed a kept connection, and we did not know yet: nothing was read of this request.
        if (attempt.request.reusedSocket && isReset(error)) continue;
        throw explain(error, endpoint);
      }
    }
  }

  [Symbol.dispose](): void {
    this.#http?.destroy();
    this.#https?.destroy();
  }

  #send(endpoint: string, { method, path, body, headers, patience = SILENCE }: HttpRequest, signal: AbortSignal) {
    const url = `${endpoint}${path}`;
    const all = {
      [HEADERS.client]: "1",
      ...headers,
      ...(body !== undefined && { "Content-Type": "application/json" }),
    };
    const options = { method, headers: all, timeout: SILENCE }; // request.setTimeout() would begin to count once it is connected
    const request: ClientRequest = endpoint.startsWith("https:")
      ? https().request(url, { ...options, agent: this.#secureAgent, ...this.#loadTls(endpoint) })
      : http.request(url, { ...options, agent: this.#agent });
    const end = () => request.destroy(new Error("aborted"));
    signal.addEventListener("abort", end, { once: true });
    request.once("close", () => signal.removeEventListener("abort", end));
    let allowed = SILENCE;
    request.on("timeout", () =>
      request.destroy(new StoreUnavailableError(endpoint, `no answer within ${allowed / 1000} s`)),
    );
    request.once("socket", (socket) => {
      const connected = () => {
        allowed = patience;
        request.setTimeout(Number.isFinite(patience) ? patience : 0);
      };
      if (!socket.connecting) return connected();
      socket.setKeepAlive(true, 3_000, 1_000, 10); // a cable cut is noticed 13 s after the last packet
      socket.once(endpoint.startsWith("https:") ? "secureConnect" : "connect", connected);
    });
    const response = new Promise<IncomingMessage>((resolve, reject) => {
      request.once("response", resolve);
      request.on("error", reject);
    });
    request.end(body);
    return { request, response };
  }

  get #agent(): HttpAgent {
    this.#http ??= new http.Agent(this.#options);
    return this.#http;
  }

  get #secureAgent(): HttpsAgent {
    this.#https ??= new (https().Agent)(this.#options);
    return this.#https;
  }

  #loadTls(endpoint: string): TlsMaterial {
    try {
      return this.#tls.load();
    } catch (error) {
      throw error instanceof InvalidConfigError
        ? new StoreRefusedError(endpoint, "cannot be reached by TLS", { cause: error })
        : error;
    }
  }
}

async function readBody(message: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of message as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MOST_BYTES) throw new Error(`the answer is longer than ${MOST_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size).toString("utf8");
}

function explain(error: unknown, endpoint: string): unknown {
  if (error instanceof StoreUnavailableError || error instanceof StoreRefusedError) return error;
  if (isTlsFailure(error)) return new StoreRefusedError(endpoint, describeTlsFailure(error, REMOTE_TLS_FLAGS));
  // A name with several addresses fails once for each.
  const reasons = error instanceof AggregateError ? error.errors.map(describeError).join(", ") : describeError(error);
  const hint = isReset(error) && endpoint.startsWith("http:") ? " (if it speaks only TLS, give --remote-cafile)" : "";
  return new StoreUnavailableError(endpoint, `${reasons}${hint}`);
}
