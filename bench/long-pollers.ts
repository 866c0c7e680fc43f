import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** Clients of a flannel server that do nothing but wait for the next change, as cheaply as may be: what is measured is the server. */
export class LongPollers implements Disposable {
  readonly #sockets: Socket[] = [];
  readonly #port: number;
  #cursor: string;
  /** When each has heard of the change that is awaited, `performance.now()`. */
  #heard: number[] = [];
  #allHeard: () => void = () => {};

  constructor(port: number, cursor: string) {
    this.#port = port;
    this.#cursor = cursor;
  }

  /** Some more of them; resolves when all are connected and have asked. */
  async add(count: number): Promise<void> {
    for (let made = 0; made < count; made += 250)
      await Promise.all(Array.from({ length: Math.min(250, count - made) }, () => this.#open()));
  }

  async #open(): Promise<void> {
    const socket = connect(this.#port, "127.0.0.1").setEncoding("latin1").setNoDelay(true);
    await once(socket, "connect");
    this.#sockets.push(socket);
    let text = "";
    socket.on("data", (chunk: string) => {
      text += chunk;
      const cursor = /"cursor":"(\d+)"\}\n$/.exec(text)?.[1];
      if (cursor === undefined) return;
      this.#heard.push(performance.now());
      text = "";
      this.#cursor = cursor;
      if (this.#heard.length === this.#sockets.length) this.#allHeard();
    });
    this.#ask(socket);
  }

  #ask(socket: Socket): void {
    socket.write(`GET /v1/_/leases?next=${this.#cursor} HTTP/1.1\r\nHost: bench\r\n\r\n`);
  }

  /** Makes a change and waits until everyone has heard of it. @returns how long it took for each, ms, from before the change */
  async hear(change: () => Promise<void>, signal: AbortSignal): Promise<readonly number[]> {
    this.#heard = [];
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#allHeard = resolve;
    const end = AbortSignal.any([signal, AbortSignal.timeout(120_000)]);
    end.addEventListener("abort", () => reject(end.reason), { once: true });
    const started = performance.now();
    await change();
    await promise;
    return this.#heard.map((time) => time - started);
  }

  /** Everyone asks for what comes next. */
  askAgain(): void {
    for (const socket of this.#sockets) this.#ask(socket);
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}
