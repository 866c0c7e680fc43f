import { StoreUnavailableError } from "../../lease/errors.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock } from "../../lib/clock.ts";
import { InvalidConfigError } from "../../lib/errors.ts";
import type { Logger } from "../../lib/logger.ts";
import type { ApiClient } from "./api-client.ts";
import { ApiStatusError } from "./api-error.ts";
import { conditionsOf, fields, type NodeFacts, type NodeReader } from "./node.ts";
import { listNodes, NODES } from "./node-listing.ts";
import { watchNodes } from "./node-watch.ts";
import type { NodeIdentity } from "./options.ts";
import { WatchPace } from "./watch-pace.ts";

/** Merges lists of conditions by their type, which a plain merge patch would replace. */
const STRATEGIC = "application/strategic-merge-patch+json";

export interface OwnNodeParts {
  readonly client: ApiClient;
  readonly reader: NodeReader;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random: () => number;
}

/** The node that this host is: read, waited for, annotated. */
export class OwnNode {
  readonly #identity: NodeIdentity | undefined;
  readonly #parts: OwnNodeParts;
  #name: string | undefined;

  constructor(identity: NodeIdentity | undefined, parts: OwnNodeParts) {
    this.#identity = identity;
    this.#parts = parts;
    if (identity?.kind === "name") this.#name = identity.name;
  }

  /** @throws {InvalidConfigError} if nothing says which it is, {StoreUnavailableError} if the pod's node is not known */
  async name(options: Abortable): Promise<string> {
    this.#name ??= await this.#nodeOfPod(options);
    return this.#name;
  }

  /** Undefined while it is not registered. */
  async get(options: Abortable): Promise<NodeFacts | undefined> {
    const node = await this.#get(options);
    return node === undefined ? undefined : this.#parts.reader.read(node);
  }

  /** The node once it is registered and has podCIDRs: others give them, so nothing is asked again until something changed. */
  async assigned(options: Abortable): Promise<NodeFacts> {
    const present = await this.get(options);
    if (present !== undefined && present.podCIDRs.length > 0) return present;
    const { client, clock, logger } = this.#parts;
    const name = await this.name(options);
    if (present === undefined) logger.warn("our node is not registered yet; waiting for it", { node: name });
    else
      logger.warn("our node has no podCIDR yet; waiting for one", {
        node: name,
        hint: "kube-controller-manager gives them if it has --allocate-node-cidrs and --cluster-cidr",
      });
    const pace = new WatchPace({ ...this.#parts, server: client.server });
    for (;;) {
      const started = clock.now();
      const found = await this.#awaitCidrs(name, options);
      if (found !== undefined) return found;
      await pace.next(clock.now() - started, options);
    }
  }

  /** Changes annotations; null removes one. Undefined if the node is gone. */
  async annotate(
    annotations: Readonly<Record<string, string | null>>,
    options: Abortable,
  ): Promise<NodeFacts | undefined> {
    const node = await this.#patchStatus({ metadata: { annotations } }, options);
    return node === undefined ? undefined : this.#parts.reader.read(node);
  }

  /** Says in the node's status that its network works, unless it says so already. @returns whether anything was written */
  async setNetworkAvailable(options: Abortable): Promise<boolean> {
    const condition = conditionsOf(await this.#get(options)).find(({ type }) => type === "NetworkUnavailable");
    if (condition?.status === "False" && condition.reason === "FlannelIsUp") return false;
    const now = this.#parts.clock.wallClock().toISOString().replace(/\.\d+/, "");
    const conditions = [
      {
        type: "NetworkUnavailable",
        status: "False",
        reason: "FlannelIsUp",
        message: "Flannel is running on this node",
        lastHeartbeatTime: now,
        lastTransitionTime: now,
      },
    ];
    return (await this.#patchStatus({ status: { conditions } }, options)) !== undefined;
  }

  async #get(options: Abortable): Promise<unknown> {
    const { client } = this.#parts;
    return await ifFound(client.get(`${NODES}/${await this.name(options)}`, options));
  }

  /** By the status alone, which annotations may be changed with: a right that can do the least harm. */
  async #patchStatus(patch: object, options: Abortable): Promise<unknown> {
    const path = `${NODES}/${await this.name(options)}/status`;
    return await ifFound(
      this.#parts.client.patch(path, { contentType: STRATEGIC, body: JSON.stringify(patch) }, options),
    );
  }

  async #awaitCidrs(name: string, { signal }: Abortable): Promise<NodeFacts | undefined> {
    const { client, reader, random } = this.#parts;
    const { nodes, version } = await listNodes(client, reader, { name, signal });
    const listed = nodes.find((node) => node.podCIDRs.length > 0);
    if (listed !== undefined) return listed;
    for await (const events of watchNodes(client, reader, { since: version, name, random, signal }))
      for (const event of events)
        if (event.type !== "bookmark" && event.type !== "gone" && event.node.podCIDRs.length > 0) return event.node;
    return undefined;
  }

  async #nodeOfPod(options: Abortable): Promise<string> {
    const { client } = this.#parts;
    const identity = this.#identity;
    if (identity?.kind !== "pod")
      throw new InvalidConfigError("NODE_NAME", "must be set, or POD_NAME and POD_NAMESPACE, to know our node");
    const { namespace, name } = identity;
    const pod = await client.get(`/api/v1/namespaces/${namespace}/pods/${name}`, options);
    const { nodeName } = fields(fields(pod)["spec"]);
    if (typeof nodeName !== "string" || nodeName === "")
      throw new StoreUnavailableError(client.server, `pod ${namespace}/${name} is on no node yet`);
    return nodeName;
  }
}

async function ifFound(answer: Promise<unknown>): Promise<unknown> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof ApiStatusError && error.status === 404) return undefined;
    throw error;
  }
}
