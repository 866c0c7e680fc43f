import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";

export type Handler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

/** What node:http calls: a mistake of the handler's is the answer, so that a test sees it. */
export function answering(handler: Handler): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    void (async () => {
      try {
        await handler(request, response);
      } catch (error) {
        response.writeHead(500).end(String(error));
      }
    })();
  };
}

/** Serves HTTP on a free port of this machine. @param host as in a URL */
export async function listen(
  handler: Handler,
  host = "127.0.0.1",
): Promise<AsyncDisposable & { readonly url: string }> {
  const server = createServer(answering(handler));
  server.listen(0, host.replaceAll(/[[\]]/g, ""));
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${host}:${port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** A proxy for connections, on a free port of this machine, and where it was asked to go. */
export async function listenAsProxy(): Promise<AsyncDisposable & { readonly url: string; readonly asked: string[] }> {
  const asked: string[] = [];
  const server = createServer((_, response) => void response.writeHead(501).end());
  server.on("connect", ({ url = "" }, incoming) => {
    asked.push(url);
    const { hostname, port } = new URL(`http://${url}`);
    const outgoing = connect(Number(port), hostname.replaceAll(/[[\]]/g, ""), () => {
      incoming.write("HTTP/1.1 200 Connection established\r\n\r\n");
      incoming.pipe(outgoing).pipe(incoming);
    });
    for (const socket of [incoming, outgoing])
      socket.on("error", () => {
        incoming.destroy();
        outgoing.destroy();
      });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, "close");
    },
  };
}
