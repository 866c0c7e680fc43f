import type { ServerResponse } from "node:http";
import type { Change, ObjectStore } from "./object-store.ts";
import type { KubeObject, Resource } from "./objects.ts";
import { apiVersionOf } from "./objects.ts";
import { expired } from "./status.ts";
import { tableOf } from "./table.ts";
import { textOf } from "./text.ts";

export interface WatchRequest {
  readonly store: ObjectStore;
  readonly resource: Resource;
  readonly namespace: string | undefined;
  readonly query: URLSearchParams;
  readonly selects: (object: KubeObject) => boolean;
  readonly asTable: boolean;
  /** Milliseconds between two bookmarks. */
  readonly bookmarkEvery: number;
  readonly write: (line: string) => void;
  readonly response: ServerResponse;
}

/** "Efficient detection of changes" in the Kubernetes documentation: one JSON text per line, until the time is over or the client goes. */
export function streamChanges({
  store,
  resource,
  namespace,
  query,
  selects,
  asTable,
  bookmarkEvery,
  write,
  response,
}: WatchRequest): void {
  let isFirst = true;
  const tell = (type: string, object: KubeObject) => {
    if (asTable) {
      const table = tableOf(resource, [object], { resourceVersion: object.metadata.resourceVersion }, isFirst);
      isFirst = false;
      write(`${JSON.stringify({ type, object: table })}\n`);
    } else write(`{"type":"${type}","object":${textOf(object)}}\n`);
  };
  const fits = ({ metadata }: KubeObject) => namespace === undefined || metadata.namespace === namespace;
  const onChange = (change: Change) => {
    if (change.resource !== resource || !fits(change.object)) return;
    const was = change.before !== undefined && selects(change.before);
    const is = change.type !== "DELETED" && selects(change.object);
    if (is) tell(was ? "MODIFIED" : "ADDED", change.object);
    else if (was) tell("DELETED", change.object);
  };
  const since = query.get("resourceVersion") ?? "";
  if (since === "" || since === "0")
    for (const object of store.list(resource, namespace)) {
      if (selects(object)) tell("ADDED", object);
    }
  else {
    const changes = store.changesSince(Number(since));
    if (changes === undefined) {
      const message = `too old resource version: ${since} (${store.compacted})`;
      write(`${JSON.stringify({ type: "ERROR", object: expired(message).body })}\n`);
      response.end();
      return;
    }
    for (const change of changes) onChange(change);
  }
  // One that is ahead of us, as after a restore, hears nothing of what it believes to know already.
  const from = since === "" ? 0 : Number(since);
  const subscription = store.subscribe((change) => {
    if (change.version > from) onChange(change);
  });
  const bookmark = () => {
    const metadata = { resourceVersion: String(store.version), creationTimestamp: null };
    write(
      `${JSON.stringify({ type: "BOOKMARK", object: { kind: resource.kind, apiVersion: apiVersionOf(resource), metadata } })}\n`,
    );
  };
  const bookmarks = query.get("allowWatchBookmarks") === "true" ? setInterval(bookmark, bookmarkEvery) : undefined;
  const seconds = Number(query.get("timeoutSeconds") ?? 0) || 1800 + Math.random() * 1800;
  const end = setTimeout(() => response.end(), seconds * 1000);
  response.on("close", () => {
    subscription[Symbol.dispose]();
    clearInterval(bookmarks);
    clearTimeout(end);
  });
  response.flushHeaders();
}
