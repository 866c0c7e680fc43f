import { once } from "node:events";
import { connect, type Socket } from "node:net";

/**
 * Requests over connections that are open already, each written by one system call when it is sent: node:http would add a third of a
 * millisecond of its own to what is measured.
 */
export class HttpSender {
  readonly #host: string;
  readonly #idle: Connection[] = [];

  /** @param connections as many requests can be under way at once */
  static async connect(endpoint: string, connections: number): Promise<HttpSender> {
    const { hostname, port, host } = new URL(endpoint);
    const sender = new HttpSender(host);
    for (let index = 0; index < connections; index++) {
      const socket = connect({ host: hostname, port: Number(port), noDelay: true });
      await once(socket, "connect");
      sender.#idle.push(new Connection(socket));
    }
    return sender;
  }

  private constructor(host: string) {
    this.#host = host;
  }

  /** @returns what sends it, and resolves with the answer's body @throws if the answer is no success */
  prepare(method: string, path: string, body: string, type: string): () => Promise<string> {
    const bytes = Buffer.from(
      `${method} ${path} HTTP/1.1\r\nHost: ${this.#host}\r\nContent-Type: ${type}\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
    return async () => {
      const connection = this.#idle.pop();
      if (connection === undefined) throw new Error("more requests at once than connections");
      const { status, body: answer } = await connection.exchange(bytes);
      this.#idle.push(connection);
      if (status >= 300) throw new Error(`${method} ${path}: ${status} ${answer}`);
      return answer;
    };
  }
}

/** One request at a time; answers as etcd gives them, with a length. */
class Connection {
  readonly #socket: Socket;
  #text = "";
  #answered: (answer: { readonly status: number; readonly body: string }) => void = () => {};
  #failed: (error: Error) => void = () => {};

  constructor(socket: Socket) {
    this.#socket = socket.setEncoding("latin1");
    socket.on("data", (text: string) => this.#take(text));
    socket.on("error", (error) => this.#failed(error));
    socket.on("close", () => this.#failed(new Error("the connection was closed")));
  }

  exchange(bytes: Uint8Array): Promise<{ readonly status: number; readonly body: string }> {
    return new Promise((resolve, reject) => {
      this.#answered = resolve;
      this.#failed = reject;
      this.#socket.write(bytes);
    });
  }

  #take(text: string): void {
    this.#text += text;
    const end = this.#text.indexOf("\r\n\r\n") + 4;
    if (end < 4) return;
    const length = Number(/^content-length: *(\d+)/im.exec(this.#text)?.[1] ?? 0);
    if (this.#text.length < end + length) return;
    const answer = { status: Number(this.#text.slice(9, 12)), body: this.#text.slice(end, end + length) };
    this.#text = "";
    this.#answered(answer);
  }
}
