import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Abortable } from "../lib/abortable.ts";
import type { Clock } from "../lib/clock.ts";
import { describeError } from "../lib/errors.ts";
import { clientOf } from "./client-address.ts";
import { Listener, type ListenerOptions, type ListenTarget } from "./listener.ts";
import { ConnectedPeers, type Peer } from "./peer-certificate.ts";
import { RefusalLog } from "./refusal-log.ts";
import { closing, NOT_FOUND, type Parked, type Reply, reply } from "./reply.ts";
import { replyWriter, type WriteReply } from "./reply-writer.ts";
import type { ApiRequest } from "./request.ts";
import { MOST_BODY, readBody } from "./request-body.ts";
import type { FindRoute } from "./routes.ts";
import { Visit } from "./visit.ts";

export interface HttpServerOptions extends ListenerOptions {
  readonly find: FindRoute;
  readonly explain: (error: unknown, request: ApiRequest) => Promise<Reply>;
  /** What answers to our own clients tell besides; the same object as long as it is the same. */
  readonly headers: () => Reply["headers"];
  readonly clock: Clock;
}

/** The API over HTTP: whatever a client sends, it gets a clear answer and nobody else notices. */
export class HttpServer implements AsyncDisposable {
  readonly #options: HttpServerOptions;
  readonly #listener: Listener;
  readonly #refusals: RefusalLog;
  readonly #peers = new ConnectedPeers();
  readonly #write: WriteReply;

  /** @throws {InvalidConfigError} if a TLS file cannot be used */
  constructor(options: HttpServerOptions) {
    this.#options = options;
    this.#refusals = new RefusalLog(options);
    this.#write = replyWriter(options.headers);
    this.#listener = new Listener(options, this.#refusals);
    this.#listener.server.on("request", (request: IncomingMessage, response: ServerResponse) => {
      void this.#serve(request, response);
    });
  }

  /** Resolves when clients can connect. @throws what the kernel says, EADDRINUSE for one */
  listen(target: ListenTarget): Promise<{ readonly address: string; readonly port: number }> {
    return this.#listener.listen(target);
  }

  /** Looks whether TLS files were changed; new connections get what is there now. */
  refresh(): void {
    this.#listener.refresh();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listener[Symbol.asyncDispose]();
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
      this.#send(message, response, answer); // to thousands: no promise for each
      return;
    }
    void answer.then(
      (reply) => this.#send(message, response, reply),
      (error: unknown) => this.#failed(message, response, error),
    );
  }

  #send(message: IncomingMessage, response: ServerResponse, answer: Reply): void {
    this.#write(message, response, answer);
    this.#debug(message, response);
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

  #peer(socket: Socket): Peer {
    if (!this.#options.clientCertificates) return { name: undefined };
    const peer = this.#peers.of(socket);
    if (peer.refusal !== undefined)
      this.#refusals.say("warn", "a client is refused", {
        client: clientOf(socket),
        subject: peer.name,
        reason: peer.refusal,
      });
    return peer;
  }
}
