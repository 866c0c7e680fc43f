import type { ClientRequest, IncomingMessage } from "node:http";
import { HistoryLostError, StoreRefusedError, StoreUnavailableError } from "../../lease/errors.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import { describeError, isReset } from "../../lib/errors.ts";
import { isTlsFailure } from "../../lib/tls-source.ts";
import type { ApiAccess, Connection } from "./api-access.ts";
import { ApiAgents } from "./api-agents.ts";
import { ApiStatusError, statusError } from "./api-error.ts";
import type { CallGate } from "./call-gate.ts";
import { MOST_ITEM_BYTES } from "./json-items.ts";

// An import statement would evaluate all of node:http's lazy exports, undici among them: 50 ms and 15 MiB for nothing.
const http = process.getBuiltinModule("node:http");
/** Loaded only where it is used: 20 ms. */
const https = () => process.getBuiltinModule("node:https");
const zlib = () => process.getBuiltinModule("node:zlib");

export interface Patch {
  readonly contentType: string;
  readonly body: string;
}

export interface StreamOptions extends Abortable {
  /** How long the whole answer may take. */
  readonly whole: Milliseconds;
  /** How long the server may say nothing in the midst of the answer; as long as the whole may take if left out. */
  readonly silence?: Milliseconds;
  /** Called when the answer begins, and it is none of an error. */
  readonly onOpen?: () => void;
  readonly onChunk: (chunk: Buffer) => void;
}

/**
 * How long a server may take until an answer begins, connecting included, or until an error's ends; and be silent in the midst of a
 * short one.
 */
const SILENCE: Milliseconds = 15_000;
/** When an agent gives up on its proxy: nobody waits for that any more. */
const PROXY_SILENCE: Milliseconds = 2 * SILENCE;
const WHOLE: Milliseconds = 60_000;
const MOST_REASON_BYTES = 64 * 1024;
/**
 * Bytes. Each piece is a round trip to another thread, and a list of 5,000 nodes has 60 MB; but from 64 KiB on, the allocator as the
 * launcher sets it up asks the kernel for each, and gives each back.
 */
const UNPACKED_AT_ONCE = 48 * 1024;

/**
 * Calls of the API server: bounded in time and size, connections kept, credentials fetched anew for each and once more if they were
 * refused, and all of them through one gate. @throws {StoreUnavailableError}, {StoreRefusedError}, {ApiStatusError}
 */
export class ApiClient implements Disposable {
  readonly #access: ApiAccess;
  readonly #clock: Clock;
  readonly #gate: CallGate;
  readonly #agents = new ApiAgents();

  constructor(access: ApiAccess, clock: Clock, gate: CallGate) {
    this.#access = access;
    this.#clock = clock;
    this.#gate = gate;
  }

  get server(): string {
    return this.#access.server;
  }

  /** An object. @param path with its query */
  async get(path: string, { signal }: Abortable): Promise<unknown> {
    return await this.#call({ method: "GET", path }, signal);
  }

  /** The object as it is after the patch. */
  async patch(path: string, { contentType, body }: Patch, { signal }: Abortable): Promise<unknown> {
    return await this.#call({ method: "PATCH", path, contentType, body }, signal);
  }

  /** A long answer, bit by bit. Resolves when it ends as it should. What the callbacks throw ends it too. */
  async stream(path: string, { signal, whole, silence = whole, onOpen, onChunk }: StreamOptions): Promise<void> {
    const request = { method: "GET", path, compressed: true } as const;
    await this.#exchange(request, { whole, silence }, signal, async (message) => {
      onOpen?.();
      for await (const chunk of unpacked(message)) onChunk(chunk);
    });
  }

  [Symbol.dispose](): void {
    this.#agents[Symbol.dispose]();
  }

  async #call(request: ApiRequest, signal: AbortSignal): Promise<unknown> {
    const limits = { whole: WHOLE, silence: SILENCE };
    return await this.#exchange(request, limits, signal, async (message) => {
      const text = await readText(message, MOST_ITEM_BYTES);
      try {
        return JSON.parse(text) as unknown;
      } catch (error) {
        throw new StoreUnavailableError(this.server, `it answered with what is no JSON: ${describeError(error)}`);
      }
    });
  }

  async #exchange<T>(
    request: ApiRequest,
    limits: Limits,
    signal: AbortSignal,
    read: (message: IncomingMessage) => Promise<T>,
  ): Promise<T> {
    await this.#gate.pass({ signal });
    for (let attempts = 1; ; attempts++) {
      const attempt: Attempt = { isRepeatable: false };
      try {
        const connection = await this.#access.connection({ signal });
        return await this.#attempt(request, connection, limits, signal, attempt, read);
      } catch (error) {
        signal.throwIfAborted();
        // A token may have run out, or a kept connection been closed, without our knowledge: that is worth one more attempt.
        const isRefused = error instanceof ApiStatusError && error.status === 401;
        if (isRefused) this.#access.refresh();
        if (attempts === 1 && (isRefused || attempt.isRepeatable)) continue;
        throw this.#judged(error);
      }
    }
  }

  async #attempt<T>(
    request: ApiRequest,
    connection: Connection,
    { whole, silence }: Limits,
    signal: AbortSignal,
    attempt: Attempt,
    read: (message: IncomingMessage) => Promise<T>,
  ): Promise<T> {
    const over = new AbortController();
    const sent = this.#send(request, connection);
    const ended = Promise.withResolvers<never>(); // a request says nothing of its end before it has a connection
    ended.promise.catch(() => undefined);
    const end = (error: Error) => {
      ended.reject(error);
      sent.destroy(error);
    };
    const onAbort = () => end(new Error("aborted"));
    signal.addEventListener("abort", onAbort, { once: true });
    const late = (span: Milliseconds) =>
      end(new StoreUnavailableError(this.server, `no answer within ${Math.round(span / 1000)} s`));
    const within = (span: Milliseconds, { signal }: AbortController) =>
      this.#clock.sleep(span, { signal }).then(
        () => late(span),
        () => undefined,
      );
    const answered = new AbortController();
    void within(whole, over);
    void within(SILENCE, answered); // a timeout of node:http would not count connecting through a proxy
    let isAnswered = false;
    try {
      const message = await Promise.race([responseTo(sent), ended.promise]);
      isAnswered = true;
      const status = message.statusCode ?? 0;
      if (status !== 200) {
        const body = await readText(message, MOST_REASON_BYTES);
        throw statusError(this.server, { status, retryAfter: message.headers["retry-after"], body });
      }
      answered.abort();
      sent.setTimeout(silence, () => late(silence));
      this.#gate.succeeded();
      return await read(message);
    } catch (error) {
      attempt.isRepeatable = !isAnswered && sent.reusedSocket && isReset(error);
      sent.destroy();
      throw error;
    } finally {
      answered.abort();
      over.abort();
      signal.removeEventListener("abort", onAbort);
    }
  }

  #send({ method, path, contentType, body, compressed }: ApiRequest, connection: Connection): ClientRequest {
    const headers = {
      Accept: "application/json",
      "User-Agent": "flanneld",
      ...(compressed && { "Accept-Encoding": "gzip" }),
      ...(contentType !== undefined && { "Content-Type": contentType }),
      ...connection.headers,
    };
    const url = `${this.server}${path}`;
    const agent = this.#agents.for(url, connection);
    const options = { method, headers, agent, timeout: PROXY_SILENCE };
    const request = url.startsWith("https:")
      ? https().request(url, { ...options, ...connection.tls })
      : http.request(url, options);
    request.once("socket", (socket) => socket.setKeepAlive(true, 3_000, 1_000, 10)); // a cable cut is noticed 13 s after the last packet
    request.end(body);
    return request;
  }

  /** Tells the gate, and puts what happened into the words of a store. */
  #judged(error: unknown): unknown {
    if (error instanceof HistoryLostError) return error; // what was told makes sense, and is for whoever reads it
    if (error instanceof ApiStatusError && error.isAnswer) {
      this.#gate.succeeded();
      return error;
    }
    this.#gate.failed(error instanceof ApiStatusError ? error.patience : 0);
    if (error instanceof ApiStatusError) return error.forCallers;
    if (error instanceof StoreUnavailableError || error instanceof StoreRefusedError) return error;
    if (isTlsFailure(error))
      return new StoreRefusedError(this.server, `TLS: ${describeError(error)} (check the cluster's authority)`);
    // A name with several addresses fails once for each.
    const reasons = error instanceof AggregateError ? error.errors.map(describeError).join(", ") : describeError(error);
    return new StoreUnavailableError(this.server, reasons, { cause: error });
  }
}

interface ApiRequest {
  readonly method: "GET" | "PATCH";
  readonly path: string;
  readonly contentType?: string;
  readonly body?: string;
  readonly compressed?: boolean;
}

interface Limits {
  readonly whole: Milliseconds;
  readonly silence: Milliseconds;
}

interface Attempt {
  /** The server had closed a kept connection before it read anything of this. */
  isRepeatable: boolean;
}

function responseTo(request: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.once("response", resolve);
    request.on("error", reject);
  });
}

function unpacked(message: IncomingMessage): AsyncIterable<Buffer> {
  if (message.headers["content-encoding"] !== "gzip") return message;
  const unzip = zlib().createGunzip({ chunkSize: UNPACKED_AT_ONCE });
  message.on("error", (error) => unzip.destroy(error));
  return message.pipe(unzip);
}

async function readText(message: IncomingMessage, most: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of message as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > most) throw new Error(`the answer is longer than ${most} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size).toString("utf8");
}
