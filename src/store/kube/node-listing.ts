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

async function listPages(
  client: ApiClient,
  reader: NodeReader,
  limit: number,
  { name, signal }: ListOptions,
): Promise<NodeListing> {
  const nodes: NodeFacts[] = [];
  let next = "";
  for (;;) {
    const query = new URLSearchParams({
      ...(limit > 0 && { limit: String(limit) }),
      ...(name !== undefined && { fieldSelector: `metadata.name=${name}` }),
      ...(next !== "" && { continue: next }),
    });
    const items = new JsonItems((json) => nodes.push(reader.read(parseNode(client, json))));
    const onChunk = (chunk: Buffer) => items.feed(chunk);
    await client.stream(`${NODES}?${query.toString()}`, { signal, whole: WHOLE, silence: SILENCE, onChunk });
    const { kind, metadata } = fields(parse(client, items.end()));
    if (kind !== "NodeList") throw new StoreUnavailableError(client.server, "it answered with no list of nodes");
    const { resourceVersion, continue: more } = fields(metadata);
    next = typeof more === "string" ? more : "";
    if (next === "") return { nodes, version: reader.version(resourceVersion) };
  }
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
