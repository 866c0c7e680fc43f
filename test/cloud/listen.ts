import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

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
