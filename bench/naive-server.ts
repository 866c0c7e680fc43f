// node bench/naive-server.ts FILE PORT: a server that watches the store anew for every client that waits, as 0.7.0's does. For comparison only.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { systemClock } from "../src/lib/clock.ts";
import { silentLogger } from "../src/lib/logger.ts";
import { formatEvents, formatLeaseEvent } from "../src/remote/api-json.ts";
import { parseCursor } from "../src/remote/cursor-text.ts";
import { openSqliteRegistry } from "../src/store/sqlite/sqlite-registry.ts";

const [file = "", port = ""] = process.argv.slice(2);
const { signal } = new AbortController();
const registry = await openSqliteRegistry(file, { logger: silentLogger }, { signal });
const { history } = (await registry.listLeases("", { signal })).cursor;

createServer({ keepAliveTimeout: 75_000 }, (request, response) => void answer(request, response)).listen(
  Number(port),
  "127.0.0.1",
  4096,
);

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (!request.url?.includes("?next=")) {
    response.writeHead(404).end();
    return;
  }
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  const { index } = parseCursor(new URL(request.url, "http://x").searchParams.get("next") ?? "");
  for await (const { events, cursor } of registry.watchLeases("", { history, index }, gone)) {
    if (events.length === 0) continue;
    const items = events.map((event) => formatLeaseEvent(event, systemClock, "0.7"));
    const body = formatEvents(items, cursor);
    response.setHeader("Content-Type", "application/json; charset=utf-8").end(body); // in one piece, so with its length
    return;
  }
}
