import { once } from "node:events";
import {
  type ClientHttp2Session,
  connect,
  constants,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";

/** What the proxy does with a call: passes it on, does it but breaks the connection instead of answering, says nothing at all, or answers itself. */
export type Tampering =
  | "pass"
  | "lose answer"
  | "hold"
  | "reset"
  | {
      readonly status?: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string | Uint8Array;
    };

/** A gRPC endpoint before a real etcd that records calls and misbehaves as told. */
export class GrpcProxy implements AsyncDisposable {
  /** Their paths, `/etcdserverpb.KV/Range`. */
  readonly calls: string[] = [];
  tamper: (path: string) => Tampering = () => "pass";
  readonly #server: Http2Server = createServer();
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #onward: ClientHttp2Session;

  private constructor(target: string) {
    this.#onward = connect(target);
    this.#onward.on("error", () => undefined);
    this.#server.on("session", (session) => {
      this.#sessions.add(session);
      session.on("error", () => undefined);
      session.on("close", () => this.#sessions.delete(session));
    });
    this.#server.on("stream", (stream, headers) => this.#serve(stream as ServerHttp2Stream, headers));
  }

  static async start(target: string): Promise<GrpcProxy> {
    const proxy = new GrpcProxy(target);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get endpoint(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("not listening");
    return `http://127.0.0.1:${address.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#onward.destroy();
    for (const session of this.#sessions) session.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  #serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    const path = headers[":path"] ?? "";
    this.calls.push(path);
    stream.on("error", () => undefined);
    const tampering = this.tamper(path);
    if (tampering === "hold") return;
    if (tampering === "reset") return stream.session?.destroy();
    if (typeof tampering === "object") {
      stream.respond({ ":status": tampering.status ?? 200, ...tampering.headers });
      return void stream.end(tampering.body);
    }
    const { host: _, ":authority": __, ...rest } = headers;
    const onward = this.#onward.request(rest);
    onward.on("error", () => stream.close(constants.NGHTTP2_CANCEL));
    stream.on("close", () => onward.close(constants.NGHTTP2_CANCEL));
    stream.pipe(onward);
    if (tampering === "lose answer") {
      onward.resume();
      onward.on("end", () => stream.session?.destroy());
      return;
    }
    const trailers = new Promise<IncomingHttpHeaders>((resolve) => {
      onward.on("trailers", resolve);
      onward.on("close", () => resolve({}));
    });
    onward.on("response", ({ ":status": status, ...answer }) => {
      if (stream.destroyed) return;
      const endStream = answer["grpc-status"] !== undefined;
      stream.respond({ ":status": status, ...answer }, { waitForTrailers: !endStream, endStream });
      if (endStream) return;
      onward.pipe(stream);
      stream.on("wantTrailers", () => void trailers.then((last) => stream.destroyed || stream.sendTrailers(last)));
    });
  }
}
