import { StoreUnavailableError } from "../../lease/errors.ts";
import type { Revision } from "../../lease/lease.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Milliseconds } from "../../lib/clock.ts";
import { describeError } from "../../lib/errors.ts";
import type { ApiClient } from "./api-client.ts";
import { ApiStatusError } from "./api-error.ts";
import { JsonItems } from "./json-items.ts";
import { fields, type NodeFacts, type NodeReader } from "./node.ts";

/** Nodes per page: what the API's own clients ask for. */
const PAGE = 500;
/** How long a page may take; a node may be 20 KiB, and the way to the API server slow. */
const WHOLE: Milliseconds = 120_000;
const SILENCE: Milliseconds = 15_000;
/** A listing that takes so long that its pages run out is begun anew so often, then asked for as a whole. */
const RESTARTS = 2;

export const NODES = "/api/v1/nodes";

export interface NodeListing {
  readonly nodes: readonly NodeFacts[];
  /** Where to go on watching. */
  readonly version: Revision;
}

export interface ListOptions extends Abortable {
  /** Only this node. */
  readonly name?: string | undefined;
}

/** All nodes as they were at one version. "Retrieving large results sets in chunks" in the Kubernetes documentation. */
export async function listNodes(client: ApiClient, reader: NodeReader, options: ListOptions): Promise<NodeListing> {
  for (let restarts = 0; ; restarts++) {
    try {
      return await listPages(client, reader, restarts < RESTARTS ? PAGE : 0, options);
    } catch (error) {
      if (!(error instanceof ApiStatusError) || error.status !== 410 || restarts >= RESTARTS) throw error;
    }
  }
}

/** The version that the API server is at. */
export async function presentVersion(client: ApiClient, reader: NodeReader, options: Abortable): Promise<Revision> {
  const { metadata } = fields(await client.get(`${NODES}?limit=1`, options));
  return reader.version(fields(metadata)["resourceVersion"]);
}

/** While a page is read, the server makes the next one: its number stands before the nodes. */
async function listPages(
  client: ApiClient,
  reader: NodeReader,
  limit: number,
  { name, signal }: ListOptions,
): Promise<NodeListing> {
  const over = new AbortController();
  const either = AbortSignal.any([signal, over.signal]);
  const begin = (from: string) => {
    const query = new URLSearchParams({
      ...(limit > 0 && { limit: String(limit) }),
      ...(name !== undefined && { fieldSelector: `metadata.name=${name}` }),
      ...(from !== "" && { continue: from }),
    });
    return new Page(client, reader, query, { signal: either });
  };
  const nodes: NodeFacts[] = [];
  let page = begin("");
  try {
    for (;;) {
      const next = await page.next;
      const ahead = next === "" ? undefined : begin(next);
      const { version } = await page.end.catch(async (error: unknown) => {
        over.abort();
        await ahead?.end.catch(() => undefined);
        throw error;
      });
      nodes.push(...page.nodes);
      if (ahead === undefined) return { nodes, version };
      page = ahead;
    }
  } finally {
    over.abort();
  }
}

/** One page, on its way. */
class Page {
  readonly nodes: NodeFacts[] = [];
  /** Which page comes after it; empty for the last. Known before the nodes, if the server says so before them, as all do. */
  readonly next: Promise<string>;
  /** Resolves when all of it is there. */
  readonly end: Promise<{ readonly version: Revision }>;

  constructor(client: ApiClient, reader: NodeReader, query: URLSearchParams, { signal }: Abortable) {
    const next = Promise.withResolvers<string>();
    this.next = next.promise;
    const items = new JsonItems(
      (json) => this.nodes.push(reader.read(parseNode(client, json))),
      (head) => {
        const following = nextOf(parse(client, head));
        if (following !== "") next.resolve(following);
      },
    );
    const onChunk = (chunk: Buffer) => items.feed(chunk);
    const read = async () => {
      await client.stream(`${NODES}?${query.toString()}`, { signal, whole: WHOLE, silence: SILENCE, onChunk });
      const list = fields(parse(client, items.end()));
      if (list["kind"] !== "NodeList")
        throw new StoreUnavailableError(client.server, "it answered with no list of nodes");
      const version = reader.version(fields(list["metadata"])["resourceVersion"]);
      next.resolve(nextOf(list));
      return { version };
    };
    this.end = read();
    this.end.catch(next.reject);
    next.promise.catch(() => undefined); // whoever reads the page before is told of this one's failure when it is its turn
  }
}

/** The `continue` of a list; empty if it is the last of its pages. */
function nextOf(list: unknown): string {
  const { continue: next } = fields(fields(list)["metadata"]);
  return typeof next === "string" ? next : "";
}

/** What a node's JSON is nearly all of, and comes last. */
const STATUS = Buffer.from(',"status":{');

/** A node, without its status where that is easily left out: with its images it is fifteen times the rest. */
function parseNode(client: ApiClient, json: Buffer): unknown {
  const end = json.indexOf(STATUS);
  if (end > 0)
    try {
      const node = fields(JSON.parse(`${json.toString("utf8", 0, end)}}`));
      if (node["metadata"] !== undefined && node["spec"] !== undefined) return node;
    } catch {} // it was some other status, inside of something
  return parse(client, json.toString("utf8"));
}

function parse(client: ApiClient, json: string): unknown {
  try {
    return JSON.parse(json) as unknown;
  } catch (error) {
    throw new StoreUnavailableError(client.server, `it answered with what is no JSON: ${describeError(error)}`);
  }
}
