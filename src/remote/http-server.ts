import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Server as NetServer, Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Abortable } from "../lib/abortable.ts";
import type { Clock, Instant, Milliseconds } from "../lib/clock.ts";
import { describeError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import type { TlsMaterial, TlsSource } from "../lib/tls-source.ts";
import { HEADERS } from "./headers.ts";
import { describePeer, isExpired, type Peer } from "./peer-certificate.ts";
import { remembered } from "./remembered.ts";
import { NOT_FOUND, type Parked, type Reply, reply } from "./reply.ts";
import type { ApiRequest } from "./request.ts";
import type { FindRoute } from "./routes.ts";

// As in the store: an import statement would evaluate all of node:http.
const http = process.getBuiltinModule("node:http");
const net = process.getBuiltinModule("node:net");

/** A lease is 200 bytes. */
const MOST_BODY = 64 * 1024;
/** How long a client may take for its request. */
const REQUEST_TIME: Milliseconds = 15_000;
/** How long a client may take to read its answer. */
const ANSWER_TIME: Milliseconds = 60_000;
/** How long an idle connection is kept. */
const IDLE: Milliseconds = 75_000;
/** TCP tells of a client whose host is gone or cut off: the first question after this long, then two more. */
const KEEP_ALIVE: Milliseconds = 15_000;
/** The same refusal of the same client is logged this often. */
const SAY_AGAIN: Milliseconds = 10 * 60_000;

/** How long a client that was refused may take to read why. */
const LINGER: Milliseconds = 1_000;

/** Where to listen, as node:net takes it. */
export type ListenTarget = { readonly host?: string | undefined; readonly port: number } | { readonly fd: number };

export interface HttpServerOptions {
  readonly find: FindRoute;
  readonly explain: (error: unknown, request: ApiRequest) => Promise<Reply>;
  /** What answers to our own clients tell besides; the same object as long as it is the same. */
  readonly headers: () => Readonly<Record<string, string>>;
  /** Served by TLS if given. */
  readonly tls?: TlsSource | undefined;
  /** Whether a client must show a certificate of the authority. */
  readonly clientCertificates: boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The API over HTTP: whatever a client sends, it gets a clear answer and nobody else notices. */
export class HttpServer implements AsyncDisposable {
  readonly #options: HttpServerOptions;
  readonly #http: Server;
  readonly #listener: NetServer;
  readonly #sockets = new Set<Socket>();
  readonly #peers = new WeakMap<Socket, Peer>();
  readonly #said = new Map<string, Instant>();
  #material: TlsMaterial | undefined;
  #complaint = "";
  #isClosing = false;

  /** @throws {InvalidConfigError} if a TLS file cannot be used */
  constructor(options: HttpServerOptions) {
    this.#options = options;
    const limits = {
      headersTimeout: REQUEST_TIME,
      requestTimeout: REQUEST_TIME,
      connectionsCheckingInterval: 5_000,
      keepAliveTimeout: IDLE,
    };
    if (options.tls === undefined) {
      this.#http = http.createServer(limits);
      this.#listener = this.#http;
      this.#http.on("connection", (socket) => this.#register(socket));
    } else {
      const https = process.getBuiltinModule("node:https");
      const { SSL_OP_NO_TICKET } = process.getBuiltinModule("node:crypto").constants;
      this.#material = options.tls.load();
      const secure = https.createServer({
        ...limits,
        ...this.#material,
        requestCert: options.clientCertificates,
        rejectUnauthorized: false, // refused with a reason, and a line that says whose it is
        handshakeTimeout: REQUEST_TIME,
        secureOptions: SSL_OP_NO_TICKET, // a resumed session would not be checked against what was revoked meanwhile
      });
      secure.on("tlsClientError", (error, socket) => this.#handshakeFailed(error, socket));
      this.#http = secure;
      this.#listener = net.createServer({ pauseOnConnect: false }, (socket) => this.#greet(socket));
    }
    this.#http.on("request", (request: IncomingMessage, response: ServerResponse) => {
      void this.#serve(request, response);
    });
    this.#http.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => refuseBytes(error, socket));
  }

  /** Resolves when clients can connect. @throws what the kernel says, EADDRINUSE for one */
  async listen(target: ListenTarget): Promise<{ readonly address: string; readonly port: number }> {
    await new Promise<void>((resolve, reject) => {
      this.#listener.once("error", reject);
      this.#listener.listen({ ...target, backlog: 4_096 }, () => {
        this.#listener.off("error", reject);
        resolve();
      });
    });
    // Out of descriptors, for one: who is connected goes on.
    this.#listener.on("error", (error) =>
      this.#say("error", "cannot take connections", { reason: describeError(error) }),
    );
    const address = this.#listener.address();
    if (address === null || typeof address === "string") return { address: String(address), port: 0 };
    return { address: address.address, port: address.port };
  }

  /** Looks whether TLS files were changed; new connections get what is there now. */
  refresh(): void {
    const { tls, logger } = this.#options;
    const before = this.#material;
    if (tls === undefined || before === undefined || !("setSecureContext" in this.#http)) return;
    try {
      const material = tls.load();
      if (material === before) return;
      (this.#http as Server & { setSecureContext(material: TlsMaterial): void }).setSecureContext(material);
      this.#material = material;
      this.#complaint = "";
      logger.info("TLS files have changed and are used now");
      const trusts = ({ ca, crl }: TlsMaterial) => `${ca?.toString()}\n${crl?.toString()}`;
      if (trusts(material) !== trusts(before)) for (const socket of this.#sockets) socket.destroy(); // they come back and are judged anew
    } catch (error) {
      const reason = describeError(error);
      if (reason !== this.#complaint)
        logger.error("TLS files have changed and cannot be used; going on with the former ones", { reason });
      this.#complaint = reason;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosing = true;
    const closed = new Promise((resolve) => this.#listener.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #register(socket: Socket): void {
    if (this.#isClosing) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    socket.setKeepAlive(true, KEEP_ALIVE, 5_000, 3);
    socket.setNoDelay(true);
  }

  /** On a TLS port: who speaks plain HTTP is told so instead of being cut off. */
  #greet(socket: Socket): void {
    this.refresh();
    this.#register(socket);
    const late = () => socket.destroy();
    socket.setTimeout(REQUEST_TIME, late);
    socket.on("error", () => socket.destroy());
    socket.once("readable", () => {
      const first = socket.read() as Buffer | null;
      if (first === null) return;
      if (first[0] === TLS_HANDSHAKE) {
        socket.setTimeout(0);
        socket.off("timeout", late);
        socket.unshift(first);
        this.#http.emit("connection", socket);
        return;
      }
      socket.end("HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
      socket.setTimeout(LINGER);
      socket.resume();
    });
  }

  #handshakeFailed(error: Error, socket: TLSSocket): void {
    const reason = describeError(error);
    this.#say("warn", "a client's TLS handshake failed", { client: clientOf(socket), reason });
    socket.destroy();
  }

  async #serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const visit = new Visit(response);
    try {
      const answer = await this.#answer(message, visit);
      if ("wait" in answer) visit.park(answer, (reply) => this.#deliver(message, response, reply));
      else this.#send(message, response, answer);
    } catch (error) {
      this.#failed(message, response, error);
    }
  }

  /** To one who has waited. */
  #deliver(message: IncomingMessage, response: ServerResponse, answer: Reply | Promise<Reply>): void {
    if (!("then" in answer)) {
      if (mayBeAnsweredAtOnce(message, response)) this.#sendAtOnce(message, response, answer);
      else this.#send(message, response, answer);
      return;
    }
    void answer.then(
      (reply) => this.#send(message, response, reply),
      (error: unknown) => this.#failed(message, response, error),
    );
  }

  #send(message: IncomingMessage, response: ServerResponse, answer: Reply): void {
    send(response, answer, this.#heads(answer)(this.#headersFor(message)));
    this.#debug(message, response);
  }

  /**
   * One write of bytes that are the same for thousands, before anything else is done for any of them. `finish` is what node:http waits for
   * to let go of a request; it comes once all have been written to, and before the next bytes are read.
   */
  #sendAtOnce(message: IncomingMessage, response: ServerResponse, answer: Reply): void {
    const second = Math.floor(this.#options.clock.wallClock().getTime() / 1000);
    message.socket.write(this.#wholes(answer)(this.#headersFor(message))(second));
    process.nextTick(() => response.emit("finish"));
    this.#debug(message, response);
  }

  #headersFor({ headers }: IncomingMessage): Reply["headers"] {
    return headers[HEADERS.client] === undefined ? NO_HEADERS : this.#options.headers();
  }

  #failed(message: IncomingMessage, response: ServerResponse, error: unknown): void {
    if (response.destroyed) {
      this.#debug(message, response);
      return;
    }
    this.#options.logger.error("a request could not be served", { url: message.url, reason: describeError(error) });
    this.#send(message, response, reply(500, "internal error"));
  }

  #debug({ method, url, socket }: IncomingMessage, response: ServerResponse): void {
    if (!this.#options.logger.debugs) return;
    const status = response.destroyed && !response.writableFinished ? "gone" : response.statusCode;
    this.#options.logger.debug("request", { method, url, status, client: clientOf(socket) });
  }

  /** Names and values in turn, made once for an answer that goes to thousands. */
  readonly #heads = remembered((answer: Reply) =>
    remembered((more: Reply["headers"]) => Object.entries(fieldsOf(answer, more)).flat()),
  );

  /** Head and body in one, as node:http would write them; with the second of their date. */
  readonly #wholes = remembered((answer: Reply) =>
    remembered((more: Reply["headers"]) =>
      remembered((second: number) => {
        const lines = Object.entries({
          ...fieldsOf(answer, more),
          Date: new Date(second * 1000).toUTCString(),
          Connection: "keep-alive",
          "Keep-Alive": `timeout=${IDLE / 1000}`,
        }).map(([name, value]) => `${name}: ${value}\r\n`);
        const head = `HTTP/1.1 ${answer.status} ${http.STATUS_CODES[answer.status]}\r\n${lines.join("")}\r\n`;
        return Buffer.concat([Buffer.from(head, "latin1"), Buffer.from(answer.body)]);
      }),
    ),
  );

  async #answer(message: IncomingMessage, visit: Abortable): Promise<Reply | Parked> {
    const peer = this.#peer(message.socket);
    if (peer.refusal !== undefined) return closing(reply(403, `${peer.refusal}\n`));
    const { method = "", url = "" } = message;
    const question = url.indexOf("?");
    const path = question < 0 ? url : url.slice(0, question);
    const match = this.#options.find(method, path);
    if (match === undefined) return NOT_FOUND;
    const body = method === "GET" ? "" : await readBody(message);
    if (body === undefined) return closing(reply(413, `the request is longer than ${MOST_BODY} bytes\n`));
    const request: ApiRequest = {
      get signal() {
        return visit.signal;
      },
      params: match.params,
      query: question < 0 ? "" : url.slice(question + 1),
      headers: message.headers,
      body,
      client: peer.name,
    };
    try {
      return await match.handler(request);
    } catch (error) {
      if (message.socket.destroyed) throw error;
      return await this.#options.explain(error, request);
    }
  }

  /** Once for each connection, but for the dates. */
  #peer(socket: Socket): Peer {
    if (!this.#options.clientCertificates) return { name: undefined };
    let peer = this.#peers.get(socket);
    if (peer === undefined) this.#peers.set(socket, (peer = describePeer(socket as TLSSocket)));
    if (peer.refusal === undefined && isExpired(peer)) {
      peer = { ...peer, refusal: `the client certificate of ${JSON.stringify(peer.name ?? "")} has expired` };
      this.#peers.set(socket, peer);
    }
    if (peer.refusal !== undefined)
      this.#say("warn", "a client is refused", {
        client: clientOf(socket),
        subject: peer.name,
        reason: peer.refusal,
      });
    return peer;
  }

  /** Nobody fills our log by trying again. */
  #say(level: "warn" | "error", message: string, fields: Readonly<Record<string, unknown>>): void {
    const key = JSON.stringify([message, fields]);
    const now = this.#options.clock.now();
    if (now - (this.#said.get(key) ?? Number.NEGATIVE_INFINITY) < SAY_AGAIN) return;
    if (this.#said.size >= 1_000) this.#said.clear();
    this.#said.set(key, now);
    this.#options.logger[level](message, fields);
  }
}

/** As people write it: to a socket of both families, a client of IPv4 is `::ffff:10.0.0.2`. */
function clientOf({ remoteAddress }: Socket): string | undefined {
  return remoteAddress?.replace(/^::ffff:/, "");
}

/** Made once: thousands may go at the same time. */
const CLIENT_GONE = new DOMException("the client is gone", "AbortError");

const NO_HEADERS = {};

/** A client from its request to its answer, or until it goes. */
class Visit implements Abortable {
  #gone: AbortController | undefined;
  #leave: (() => void) | undefined;
  #isOver = false;

  constructor(response: ServerResponse) {
    response.once("close", () => {
      this.#isOver = true;
      if (response.writableFinished) return;
      this.#leave?.();
      this.#gone?.abort(CLIENT_GONE);
    });
  }

  /** Made for those who look at it: who only waits has no need of one. */
  get signal(): AbortSignal {
    this.#gone ??= new AbortController();
    if (this.#isOver) this.#gone.abort(CLIENT_GONE);
    return this.#gone.signal;
  }

  park(parked: Parked, deliver: Parameters<Parked["wait"]>[0]): void {
    if (!this.#isOver) this.#leave = parked.wait(deliver);
  }
}

/** The first byte of a TLS record that begins a handshake. RFC 8446 §5.1. */
const TLS_HANDSHAKE = 0x16;

function send(response: ServerResponse, { status, body }: Reply, head: string[]): void {
  if (response.destroyed || response.headersSent) return;
  response.writeHead(status, head);
  response.end(body);
  const { socket } = response;
  if (socket === null || socket.writableLength === 0) return;
  response.setTimeout(ANSWER_TIME, () => socket.destroy());
}

function fieldsOf({ headers, body }: Reply, more: Reply["headers"]): Reply["headers"] {
  return { ...headers, ...more, "Content-Length": String(Buffer.byteLength(body)) };
}

/** Whether the connection stays, and everything before on it has been answered and sent. */
function mayBeAnsweredAtOnce(message: IncomingMessage, response: ServerResponse): boolean {
  const { httpVersion, socket } = message;
  if (httpVersion !== "1.1" || !response.shouldKeepAlive || response.headersSent) return false;
  return response.socket === socket && socket.writable && socket.writableLength === 0;
}

function closing(answer: Reply): Reply {
  return { ...answer, headers: { ...answer.headers, Connection: "close" } };
}

/** Undefined if it is too long. */
async function readBody(message: IncomingMessage): Promise<string | undefined> {
  if (Number(message.headers["content-length"] ?? 0) > MOST_BODY) return undefined;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of message.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MOST_BODY) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size).toString("utf8");
}

/** To bytes that are no HTTP, or come too slowly. */
function refuseBytes(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const status =
    error.code === "HPE_HEADER_OVERFLOW"
      ? "431 Request Header Fields Too Large"
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? "408 Request Timeout"
        : "400 Bad Request";
  socket.end(`HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n${status}`);
  socket.setTimeout(LINGER, () => socket.destroy());
}
