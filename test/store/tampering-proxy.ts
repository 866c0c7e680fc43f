import { once } from "node:events";
import {
  createServer,
  type IncomingMessage,
  request as requestHttp,
  type Server,
  type ServerResponse,
} from "node:http";

/** A request as it came over the wire. */
export interface SeenRequest {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly body: string;
  readonly contentType: string | undefined;
}

/** What the proxy does with a request: passes it on, does it but breaks the connection instead of answering, says nothing at all, or answers itself. */
export type Tampering =
  | "pass"
  | "lose answer"
  | "hold"
  | "reset"
  | {
      readonly status?: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
      /** Ends the connection within the answer. */
      readonly cutOff?: boolean;
    };

/** An HTTP endpoint before a real etcd (or before nothing) that records requests and misbehaves as told. */
export class TamperingProxy implements AsyncDisposable {
  readonly requests: SeenRequest[] = [];
  tamper: (request: SeenRequest) => Tampering = () => "pass";
  readonly #target: string | undefined;
  readonly #unanswered = new Set<ServerResponse>();
  readonly #passing = new Set<{ readonly reply: IncomingMessage; readonly response: ServerResponse }>();
  readonly #server: Server;

  private constructor(target: string | undefined) {
    this.#target = target;
    this.#server = createServer((request, response) => {
      this.#unanswered.add(response);
      response.on("close", () => this.#unanswered.delete(response));
      this.#serve(request, response).catch(() => response.destroy());
    });
  }

  static async start(target?: string): Promise<TamperingProxy> {
    const proxy = new TamperingProxy(target);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get endpoint(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("not listening");
    return `http://127.0.0.1:${address.port}`;
  }

  /** How many requests are under way of whose answer nothing has been sent yet. */
  get unanswered(): number {
    return this.#unanswered.size;
  }

  /** Reads no further in the answers that are under way, so that they fill the connection. @returns what reads on */
  stall(): () => void {
    const stalled = [...this.#passing];
    for (const { reply, response } of stalled) reply.unpipe(response).pause();
    return () => stalled.forEach(({ reply, response }) => reply.pipe(response));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", url = "", headers } = request;
    let body = "";
    for await (const chunk of request.setEncoding("utf8")) body += String(chunk);
    const seen: SeenRequest = { method, path: url, body, contentType: headers["content-type"] };
    this.requests.push(seen);
    const tampering = this.tamper(seen);
    if (tampering === "hold") return;
    if (tampering === "reset") return void response.destroy();
    if (typeof tampering === "object") return answer(response, tampering);
    if (this.#target === undefined) throw new Error(`nothing to pass ${method} ${url} on to`);
    const { host: _, ...rest } = headers;
    const onward = requestHttp(`${this.#target}${url}`, { method, headers: rest, agent: false }, (reply) => {
      reply.on("error", () => response.destroy());
      if (tampering === "lose answer") {
        reply.resume();
        reply.on("end", () => response.destroy());
      } else {
        response.writeHead(reply.statusCode ?? 0, reply.headers);
        response.flushHeaders();
        this.#unanswered.delete(response);
        reply.pipe(response);
        const passing = { reply, response };
        this.#passing.add(passing);
        response.on("close", () => this.#passing.delete(passing));
      }
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    onward.end(body);
  }
}

function answer(response: ServerResponse, { status = 200, headers = {}, body = "", cutOff }: Tampering & object): void {
  const length = Buffer.byteLength(body);
  response.writeHead(status, { ...headers, "Content-Length": cutOff === true ? length + 100 : length });
  if (cutOff !== true) return void response.end(body);
  response.write(body, () => setImmediate(() => response.destroy()));
}
