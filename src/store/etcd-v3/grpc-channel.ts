import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from "node:http2";
import { connect as connectTcp, isIP } from "node:net";
import { connect as connectTls } from "node:tls";
import type { Abortable } from "../../lib/abortable.ts";
import { sleepAwake } from "../../lib/awake.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import { isReset } from "../../lib/errors.ts";
import { Mailbox } from "../../lib/mailbox.ts";
import type { TlsMaterial } from "../../lib/tls-source.ts";
import { encodeFrame, FrameDecoder } from "./grpc-frames.ts";
import { checkResponse, type Headers, statusOf, TransportError } from "./grpc-status.ts";
import type { Method } from "./rpc.ts";

const CONNECT_TIMEOUT: Milliseconds = 1000;
/** How long a server may say nothing in the midst of an answer. */
const ANSWER_TIMEOUT: Milliseconds = 5000;
/** A connection with calls under way is asked for a sign of life this often; etcd hangs up on who asks oftener than every 5 s. */
const PING_INTERVAL: Milliseconds = 7000;
const PING_TIMEOUT: Milliseconds = 5000;
/** Who speaks no TLS, or nothing else, ends the connection, in good order or not. */
const HINT = "(is it etcd's client port, with TLS or without as the URL says?)";
/** What a server may send ahead of our reading, so that a page of leases does not wait for a round trip every 64 KiB. */
const WINDOW = 4 << 20;

export interface CallOptions extends Abortable {
  readonly headers: Headers;
}

interface Session {
  readonly http2: ClientHttp2Session;
  connected: boolean;
  /** Something has come that is an answer. */
  hasAnswered: boolean;
  calls: number;
}

/**
 * gRPC over one HTTP/2 connection to one endpoint, opened when first needed and again after it was lost.
 * Uncompressed, without retries. https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */
export class GrpcChannel {
  readonly #endpoint: URL;
  readonly #material: TlsMaterial;
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  readonly #sessions = new Set<ClientHttp2Session>();
  #current: Session | undefined;

  constructor(endpoint: string, deps: { readonly material: TlsMaterial; readonly clock: Clock }) {
    this.#endpoint = new URL(endpoint);
    this.#material = deps.material;
    this.#clock = deps.clock;
  }

  /** One question, one answer. @throws {GrpcStatusError} as the server says, {TransportError} if it says nothing that makes sense */
  async unary<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    { headers, signal }: CallOptions,
  ): Promise<Response> {
    signal.throwIfAborted();
    return await new Promise((resolve, reject) => {
      let answer: Response | undefined;
      const stop = () => {
        end();
        reject(signal.reason);
      };
      const { stream, fail } = this.#start(method.path, headers, {
        message(bytes) {
          answer = method.response.decode(bytes);
        },
        end(error) {
          signal.removeEventListener("abort", stop);
          if (error !== undefined) reject(error);
          else if (answer === undefined) reject(new TransportError("no message in the answer", { wasSent: true }));
          else resolve(answer);
        },
      });
      const end = () => stream.close(constants.NGHTTP2_CANCEL);
      signal.addEventListener("abort", stop, { once: true });
      stream.setTimeout(ANSWER_TIMEOUT, () => {
        this.#current = undefined; // the connection itself may be dead: the next call tries another
        fail(new Error(`no answer within ${ANSWER_TIMEOUT / 1000} s`));
        end();
      });
      stream.end(encodeFrame(method.request, request));
    });
  }

  /** One question, answers without end. The first must come in time; then it is up to pings. @throws as `unary()` */
  async *stream<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    { headers, signal }: CallOptions,
  ): AsyncGenerator<Response, void> {
    signal.throwIfAborted();
    const received = new Mailbox<{ readonly message: Response } | { readonly error: Error | undefined }>();
    const { stream, fail } = this.#start(method.path, headers, {
      message: (bytes) => received.put({ message: method.response.decode(bytes) }),
      end: (error) => received.put({ error }),
    });
    try {
      stream.setTimeout(ANSWER_TIMEOUT, () => {
        this.#current = undefined;
        fail(new Error(`no answer within ${ANSWER_TIMEOUT / 1000} s`));
      });
      stream.write(encodeFrame(method.request, request)); // and left open: an end would say that we are no longer interested
      for (;;) {
        for (const item of await received.takeAll({ signal })) {
          stream.setTimeout(0);
          if ("message" in item) yield item.message;
          else if (item.error === undefined) return;
          else throw item.error;
        }
      }
    } finally {
      stream.close(constants.NGHTTP2_CANCEL);
    }
  }

  /** Lets the calls under way go on and closes the connection after the last of them. */
  retire(): void {
    for (const session of this.#sessions) session.close();
  }

  /** Ends all calls, at once. */
  close(): void {
    this.#closing.abort();
    for (const session of this.#sessions) session.destroy();
  }

  #start(
    path: string,
    headers: Headers,
    on: { message(bytes: Uint8Array): void; end(error: Error | undefined): void },
  ): { readonly stream: ClientHttp2Stream; readonly fail: (cause: Error) => void } {
    const session = this.#session();
    const stream = openStream(session.http2, {
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    });
    session.calls++;
    let isOver = false;
    let hasAnswered = false;
    let hasEnded = false;
    let trailers: Headers | undefined;
    const finish = (error: Error | undefined) => {
      if (isOver) return;
      isOver = true;
      on.end(error);
    };
    const fail = (cause: unknown) => {
      const wasSent = session.connected;
      const error = TransportError.from(cause, wasSent);
      const isRefused = isReset(error.cause) && !session.hasAnswered;
      finish(isRefused ? new TransportError(`${error.message} ${HINT}`, { cause: error.cause, wasSent }) : error);
    };
    const attempt = (work: () => void) => {
      try {
        if (!isOver) work();
      } catch (error) {
        fail(error);
        stream.close(constants.NGHTTP2_CANCEL);
      }
    };
    const frames = new FrameDecoder((bytes) => on.message(bytes));
    stream.on("response", (response) =>
      attempt(() => {
        hasAnswered = true;
        session.hasAnswered = true;
        checkResponse(response);
        if (response["grpc-status"] !== undefined) trailers = response; // an answer without a message
      }),
    );
    stream.on("trailers", (received) => {
      trailers = received;
    });
    stream.on("data", (chunk: Buffer) => attempt(() => frames.push(chunk)));
    stream.on("error", fail);
    stream.on("end", () => {
      hasEnded = true;
      if (trailers !== undefined) finish(statusOf(trailers));
    });
    stream.on("close", () => {
      session.calls--;
      if (!hasAnswered) fail(new Error(`closed without an answer ${HINT}`));
      else if (hasEnded) finish(statusOf(trailers));
      else fail(new Error("the connection was closed"));
    });
    return { stream, fail };
  }

  #session(): Session {
    if (this.#current !== undefined && !this.#current.http2.closed && !this.#current.http2.destroyed)
      return this.#current;
    this.#closing.signal.throwIfAborted();
    const { origin } = this.#endpoint;
    const http2 = connect(origin, {
      createConnection: () => openSocket(this.#endpoint, this.#material, this.#clock),
      settings: { enablePush: false, initialWindowSize: WINDOW },
    });
    const session: Session = { http2, connected: false, hasAnswered: false, calls: 0 };
    const over = new AbortController();
    http2.on("connect", () => {
      session.connected = true;
      if (!http2.destroyed) http2.setLocalWindowSize(WINDOW); // a session that was destroyed meanwhile still says that it is connected
    });
    http2.on("error", () => undefined); // each of its streams tells it to its call
    http2.on("close", () => {
      over.abort();
      this.#sessions.delete(http2);
    });
    this.#sessions.add(http2);
    this.#current = session;
    keepAlive(session, this.#clock, over.signal).catch(() => undefined); // ends with the session
    return session;
  }
}

/** @throws {TransportError} if the session has just ended */
function openStream(session: ClientHttp2Session, headers: Headers): ClientHttp2Stream {
  try {
    return session.request(headers);
  } catch (error) {
    throw TransportError.from(error, false);
  }
}

/** Breaks a connection that has calls under way and no longer answers. */
async function keepAlive(session: Session, clock: Clock, signal: AbortSignal): Promise<void> {
  for (;;) {
    await clock.sleep(PING_INTERVAL, { signal });
    if (session.calls === 0 || !session.connected) continue; // etcd counts pings without calls as an offence
    const answered = new AbortController();
    session.http2.ping(() => answered.abort());
    try {
      await clock.sleep(PING_TIMEOUT, { signal: AbortSignal.any([signal, answered.signal]) });
      const silence = (PING_INTERVAL + PING_TIMEOUT) / 1000;
      session.http2.destroy(new Error(`the connection has been silent for ${silence} s`));
    } catch {
      signal.throwIfAborted();
    }
  }
}

/** Node itself gives up on a connection only after minutes. */
function openSocket(endpoint: URL, material: TlsMaterial, clock: Clock) {
  const host = endpoint.hostname.replace(/^\[(.*)\]$/, "$1");
  const secure = endpoint.protocol === "https:";
  const port = Number(endpoint.port || (secure ? 443 : 80));
  const socket = secure
    ? connectTls({ host, port, ...(isIP(host) === 0 && { servername: host }), ALPNProtocols: ["h2"], ...material })
    : connectTcp({ host, port });
  socket.setNoDelay(true);
  const settled = new AbortController();
  for (const event of [secure ? "secureConnect" : "connect", "close"]) socket.once(event, () => settled.abort());
  sleepAwake(clock, CONNECT_TIMEOUT, settled).then(
    () => socket.destroy(new Error(`no ${secure ? "TLS " : ""}connection within ${CONNECT_TIMEOUT / 1000} s`)),
    () => undefined,
  );
  return socket;
}
