import type { ClientRequest, Agent as HttpAgent, IncomingMessage } from "node:http";
import type { Agent as HttpsAgent } from "node:https";
import type { Socket } from "node:net";
import { StoreRefusedError, StoreUnavailableError } from "../../lease/errors.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { sleepAwake } from "../../lib/awake.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import { describeError, InvalidConfigError, isReset } from "../../lib/errors.ts";
import { isTlsFailure, type TlsMaterial, type TlsSource } from "../../lib/tls-source.ts";
import { UncertainWriteError } from "../etcd/endpoints.ts";
import type { EtcdCredentials, EtcdOptions } from "../etcd/options.ts";
import { describeEtcdTlsFailure, etcdTlsSource } from "../etcd/tls.ts";
import { type Progress, whileAlive } from "./watchdog.ts";

// An import statement would evaluate all of node:http's lazy exports, undici among them: 50 ms and 15 MiB for nothing.
const http = process.getBuiltinModule("node:http");
/** Loaded only where it is used: 20 ms. */
const https = () => process.getBuiltinModule("node:https");

export interface HttpRequest {
  /** POST is a question like GET, of etcd's v3 gateway. */
  readonly method: "GET" | "PUT" | "DELETE" | "POST";
  /** With the query. */
  readonly path: string;
  /** A form, already encoded; JSON in a POST. */
  readonly body?: string;
}

export interface HttpAnswer {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

const CONNECT_TIMEOUT: Milliseconds = 1_000;
/** How long an endpoint may say nothing in the midst of an answer. */
const SILENCE: Milliseconds = 5_000;
/** 50,000 leases are about 15 MB; what is longer than this is no listing of ours. */
const MOST_BYTES = 256 * 1024 * 1024;
/** Idle connections are kept so long. */
const IDLE: Milliseconds = 60_000;

/** HTTP as etcd's v2 API needs it: connections kept open, nothing followed, everything bounded in time and size. */
export class HttpClient implements Disposable {
  readonly #clock: Clock;
  readonly #tls: TlsSource;
  readonly #authorization: string | undefined;
  readonly #agents = new Agents();

  constructor(options: Pick<EtcdOptions, "files" | "credentials">, clock: Clock) {
    this.#clock = clock;
    this.#tls = etcdTlsSource(options.files);
    this.#authorization = options.credentials && basicAuthorization(options.credentials);
  }

  /**
   * The whole answer, whatever its status.
   * @throws {StoreUnavailableError}, {StoreRefusedError} if TLS fails, {UncertainWriteError} if a PUT or DELETE was sent and got no answer
   */
  async exchange(endpoint: string, request: HttpRequest, { signal }: Abortable): Promise<HttpAnswer> {
    return await this.#whileAlive(endpoint, signal, async (alive, progress) => {
      const attempt = this.#send(endpoint, request, this.#agents, alive);
      try {
        return await readAnswer(await attempt.response, progress);
      } catch (error) {
        const failure = explain(error, endpoint, attempt, alive);
        const isWrite = request.method === "PUT" || request.method === "DELETE";
        const isUncertain = isWrite && attempt.wasSent() && failure instanceof StoreUnavailableError;
        throw isUncertain ? new UncertainWriteError(failure) : failure;
      }
    });
  }

  /**
   * A GET whose answer's end may take for ever: resolves with its head, and from then on only disposing of it, or of the connection,
   * ends it. An answer of another status than 200 is short and comes whole.
   * @throws {StoreUnavailableError} if the head of the answer does not come, {StoreRefusedError} if TLS fails
   */
  async open(
    endpoint: string,
    path: string,
    connection: HttpConnection,
    { signal }: Abortable,
  ): Promise<HttpStream | HttpAnswer> {
    return await this.#whileAlive(endpoint, signal, async (alive, progress) => {
      const attempt = this.#send(endpoint, { method: "GET", path }, connection.agents, alive);
      try {
        const message = await attempt.response;
        return message.statusCode === 200
          ? new HttpStream(attempt.request, message, endpoint)
          : await readAnswer(message, progress);
      } catch (error) {
        throw explain(error, endpoint, attempt, alive);
      }
    });
  }

  [Symbol.dispose](): void {
    this.#agents[Symbol.dispose]();
  }

  #whileAlive<T>(
    endpoint: string,
    signal: AbortSignal,
    work: (signal: AbortSignal, progress: Progress) => Promise<T>,
  ): Promise<T> {
    const late = () => new StoreUnavailableError(endpoint, `no answer within ${SILENCE / 1000} s`);
    return whileAlive({ clock: this.#clock, silence: SILENCE, signal, late }, work);
  }

  #send(endpoint: string, { method, path, body }: HttpRequest, agents: Agents, signal: AbortSignal): Sent {
    const isTls = endpoint.startsWith("https:");
    const headers = {
      ...(this.#authorization !== undefined && { Authorization: this.#authorization }),
      ...(body !== undefined && {
        "Content-Type": method === "POST" ? "application/json" : "application/x-www-form-urlencoded",
      }),
    };
    const url = `${endpoint}${path}`;
    const request = isTls
      ? https().request(url, { method, headers, agent: agents.https, ...this.#loadTls(endpoint) })
      : http.request(url, { method, headers, agent: agents.http });
    const end = () => request.destroy(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
    signal.addEventListener("abort", end, { once: true });
    request.once("close", () => signal.removeEventListener("abort", end));
    let wasSent = false;
    request.once("socket", (socket) => {
      const stopTimer = socket.connecting ? this.#limitConnecting(socket, endpoint, request) : undefined;
      const ready = () => {
        wasSent = true;
      };
      if (!socket.connecting) return ready();
      socket.setKeepAlive(true, 3_000, 1_000, 10); // a cable cut is noticed 13 s after the last packet
      socket.once("connect", () => stopTimer?.());
      socket.once(isTls ? "secureConnect" : "connect", ready);
    });
    const response = new Promise<IncomingMessage>((resolve, reject) => {
      request.once("response", resolve);
      request.on("error", reject);
    });
    request.end(body);
    return { request, response, wasSent: () => wasSent };
  }

  #limitConnecting(socket: Socket, endpoint: string, request: ClientRequest): () => void {
    const over = new AbortController();
    socket.once("close", () => over.abort());
    sleepAwake(this.#clock, CONNECT_TIMEOUT, over).then(
      () => request.destroy(new StoreUnavailableError(endpoint, `no connection within ${CONNECT_TIMEOUT / 1000} s`)),
      () => undefined,
    );
    return () => over.abort();
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

interface Sent {
  readonly request: ClientRequest;
  readonly response: Promise<IncomingMessage>;
  readonly wasSent: () => boolean;
}

/** Connections kept open for the next request. */
class Agents implements Disposable {
  readonly #options = { keepAlive: true, maxFreeSockets: 2, timeout: IDLE };
  #http: HttpAgent | undefined;
  #https: HttpsAgent | undefined;

  get http(): HttpAgent {
    this.#http ??= new http.Agent(this.#options);
    return this.#http;
  }

  get https(): HttpsAgent {
    this.#https ??= new (https().Agent)(this.#options);
    return this.#https;
  }

  [Symbol.dispose](): void {
    this.#http?.destroy();
    this.#https?.destroy();
  }
}

/** A connection of its own for long answers, used again as long as each ends by itself. */
export class HttpConnection implements Disposable {
  readonly agents = new Agents();

  [Symbol.dispose](): void {
    this.agents[Symbol.dispose]();
  }
}

/** An answer whose body comes bit by bit. */
export class HttpStream implements Disposable {
  readonly headers: HttpAnswer["headers"];
  readonly #request: ClientRequest;
  readonly #message: IncomingMessage;
  readonly #endpoint: string;

  constructor(request: ClientRequest, message: IncomingMessage, endpoint: string) {
    this.#request = request;
    this.#message = message;
    this.#endpoint = endpoint;
    this.headers = message.headers;
    message.on("error", () => undefined); // told by `listen`, or of no interest any more
  }

  /** Once: calls back for each piece of text, and in the end with nothing or why it was cut off. */
  listen(onText: (text: string) => void, onEnd: (failure: StoreUnavailableError | undefined) => void): void {
    const message = this.#message.setEncoding("utf8");
    let error: unknown;
    message.on("data", onText);
    message.once("error", (cause) => {
      error = cause;
    });
    message.once("close", () => {
      const reason =
        error === undefined ? "the connection was closed" : `the connection was lost: ${describeError(error)}`;
      onEnd(message.complete ? undefined : new StoreUnavailableError(this.#endpoint, reason));
    });
  }

  [Symbol.dispose](): void {
    if (!this.#message.complete) this.#request.destroy();
  }
}

async function readAnswer(message: IncomingMessage, progress: Progress): Promise<HttpAnswer> {
  return { status: message.statusCode ?? 0, headers: message.headers, body: await readBody(message, progress) };
}

async function readBody(message: IncomingMessage, progress: Progress): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of message as AsyncIterable<Buffer>) {
    progress();
    size += chunk.length;
    if (size > MOST_BYTES) throw new Error(`the answer is longer than ${MOST_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size).toString("utf8");
}

function explain(error: unknown, endpoint: string, attempt: Sent, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof StoreUnavailableError || error instanceof StoreRefusedError) return error;
  if (isTlsFailure(error)) return new StoreRefusedError(endpoint, describeEtcdTlsFailure(error));
  // A name with several addresses fails once for each.
  const reasons = error instanceof AggregateError ? error.errors.map(describeError).join(", ") : describeError(error);
  return new StoreUnavailableError(endpoint, `${reasons}${isReset(error) ? protocolHint(endpoint, attempt) : ""}`);
}

/** An etcd that is addressed in the wrong protocol only closes the connection. */
function protocolHint(endpoint: string, attempt: Sent): string {
  if (endpoint.startsWith("http:")) return " (if it speaks only TLS, use https://)";
  return attempt.wasSent() ? "" : " in the TLS handshake (if it speaks no TLS, use http://)";
}

function basicAuthorization({ username, password }: EtcdCredentials): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}
