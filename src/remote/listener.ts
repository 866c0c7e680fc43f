import type { Server } from "node:http";
import type { Server as SecureServer } from "node:https";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Milliseconds } from "../lib/clock.ts";
import { describeError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import type { TlsMaterial, TlsSource } from "../lib/tls-source.ts";
import { clientOf } from "./client-address.ts";
import type { RefusalLog } from "./refusal-log.ts";

/** How long a client may take for its request. */
const REQUEST_TIME: Milliseconds = 15_000;
/** How long an idle connection is kept. */
const IDLE: Milliseconds = 75_000;
/** TCP tells of a client whose host is gone or cut off: the first question after this long, then two more. */
const KEEP_ALIVE: Milliseconds = 15_000;
/** How long a client that was refused may take to read why. */
const LINGER: Milliseconds = 1_000;

const LIMITS = {
  headersTimeout: REQUEST_TIME,
  requestTimeout: REQUEST_TIME,
  connectionsCheckingInterval: 5_000,
  keepAliveTimeout: IDLE,
};

/** The first byte of a TLS record that begins a handshake. RFC 8446 §5.1. */
const TLS_HANDSHAKE = 0x16;

/** Where to listen, as node:net takes it. */
export type ListenTarget = { readonly host?: string | undefined; readonly port: number } | { readonly fd: number };

export interface ListenerOptions {
  /** Served by TLS if given. */
  readonly tls?: TlsSource | undefined;
  /** Whether a client must show a certificate of the authority. */
  readonly clientCertificates: boolean;
  readonly logger: Logger;
}

/** Takes connections, plain or by TLS, and knows who is connected. */
export class Listener implements AsyncDisposable {
  readonly #options: ListenerOptions;
  readonly #refusals: RefusalLog;
  readonly #http: Server;
  readonly #sockets = new Set<Socket>();
  /** Present if TLS is served. */
  readonly #secure: { readonly server: SecureServer; material: TlsMaterial } | undefined;
  #complaint = "";
  #isClosing = false;

  /** @throws {InvalidConfigError} if a TLS file cannot be used */
  constructor(options: ListenerOptions, refusals: RefusalLog) {
    this.#options = options;
    this.#refusals = refusals;
    this.#secure = options.tls && this.#secureServer(options.tls.load());
    // As in the store: an import statement would evaluate all of node:http.
    this.#http = this.#secure?.server ?? process.getBuiltinModule("node:http").createServer(LIMITS);
    if (this.#secure === undefined) this.#http.on("connection", (socket) => this.#register(socket));
    this.#http.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => refuseBytes(error, socket));
  }

  /** Where requests come from. */
  get server(): Server {
    return this.#http;
  }

  /** Resolves when clients can connect. @throws what the kernel says, EADDRINUSE for one */
  async listen(target: ListenTarget): Promise<{ readonly address: string; readonly port: number }> {
    await new Promise<void>((resolve, reject) => {
      this.#http.once("error", reject);
      this.#http.listen({ ...target, backlog: 4_096 }, () => {
        this.#http.off("error", reject);
        resolve();
      });
    });
    // Out of descriptors, for one: who is connected goes on.
    this.#http.on("error", (error) =>
      this.#refusals.say("error", "cannot take connections", { reason: describeError(error) }),
    );
    const address = this.#http.address();
    if (address === null || typeof address === "string") return { address: String(address), port: 0 };
    return { address: address.address, port: address.port };
  }

  /** Looks whether TLS files were changed; new connections get what is there now. */
  refresh(): void {
    const { tls, logger } = this.#options;
    const secure = this.#secure;
    if (tls === undefined || secure === undefined) return;
    try {
      const before = secure.material;
      const material = tls.load();
      if (material === before) return;
      secure.server.setSecureContext(material);
      secure.material = material;
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
    const closed = new Promise((resolve) => this.#http.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #secureServer(material: TlsMaterial) {
    const { SSL_OP_NO_TICKET } = process.getBuiltinModule("node:crypto").constants;
    const server = process.getBuiltinModule("node:https").createServer({
      ...LIMITS,
      ...material,
      requestCert: this.#options.clientCertificates,
      rejectUnauthorized: false, // refused with a reason, and a line that says whose it is
      handshakeTimeout: REQUEST_TIME,
      secureOptions: SSL_OP_NO_TICKET, // a resumed session would not be checked against what was revoked meanwhile
    });
    server.on("tlsClientError", (error, socket) => this.#handshakeFailed(error, socket));
    // The server itself has to listen: one that is only handed connections does not look who is too slow.
    const handshakes = server.listeners("connection");
    server.removeAllListeners("connection");
    server.on("connection", (socket) =>
      this.#greet(socket, () => {
        for (const handshake of handshakes) handshake.call(server, socket);
      }),
    );
    return { server, material };
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
  #greet(socket: Socket, handshake: () => void): void {
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
        handshake();
        return;
      }
      socket.end("HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
      socket.setTimeout(LINGER);
      socket.resume();
    });
  }

  #handshakeFailed(error: Error, socket: TLSSocket): void {
    const reason = describeError(error);
    this.#refusals.say("warn", "a client's TLS handshake failed", { client: clientOf(socket), reason });
    socket.destroy();
  }
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
