import { once } from "node:events";
import { connect } from "node:net";

/** Until a server on this machine says anything. */
const PATIENCE = 20_000;

/** Sends these bytes and reads until the server closes, or nothing more comes for a while. */
export async function rawExchange(port: number, bytes: string | Buffer, { quiet = 1_000 } = {}): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  let text = "";
  socket.setEncoding("latin1").on("data", (chunk: string) => {
    text += chunk;
    socket.setTimeout(quiet);
  });
  socket.on("error", () => undefined);
  socket.write(bytes);
  socket.setTimeout(PATIENCE, () => {
    const before = text.length;
    setImmediate(() => text.length === before && socket.destroy()); // else it came while this process had no time
  });
  await once(socket, "close");
  return text;
}

export interface Answer {
  readonly status: number;
  readonly type: string | null;
  readonly body: string;
  readonly headers: Headers;
}

/** A request to a server on this machine, as curl would make it. */
export async function ask(
  port: number,
  method: string,
  path: string,
  {
    body,
    headers = {},
    signal,
  }: {
    readonly body?: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly signal?: AbortSignal;
  } = {},
): Promise<Answer> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    method,
    headers,
    ...(body !== undefined && { body }),
    ...(signal !== undefined && { signal }),
  });
  return {
    status: response.status,
    type: response.headers.get("content-type"),
    body: await response.text(),
    headers: response.headers,
  };
}
