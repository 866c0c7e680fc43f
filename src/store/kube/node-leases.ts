import { formatPrefix } from "../../ip/prefix.ts";
import { type Lease, type LeaseEvent, leaseKey } from "../../lease/lease.ts";
import { InvalidConfigError } from "../../lib/errors.ts";
import type { Logger } from "../../lib/logger.ts";
import type { NodeFacts } from "./node.ts";
import { leaseOf, subnetsOf } from "./node-lease.ts";
import type { NodeEvent } from "./node-watch.ts";

interface Known {
  /** All that a lease is made of: nodes change every few seconds, this of them nearly never. */
  readonly fingerprint: string;
  readonly lease: Lease | undefined;
}

/** A cluster full of nonsense must not fill our memory too. */
const MOST_COMPLAINTS = 10_000;

/** The leases that a cluster's nodes stand for, and what a change of a node changes of them. */
export class NodeLeases {
  readonly #own: string | undefined;
  readonly #logger: Logger;
  readonly #known = new Map<string, Known>();
  /** Who claims a subnet: the first holds it. More than one is somebody's mistake. */
  readonly #claims = new Map<string, readonly string[]>();
  readonly #complaints = new Set<string>();
  #isPartial = true;

  /** @param own our node's name, if we have one */
  constructor(own: string | undefined, logger: Logger) {
    this.#own = own;
    this.#logger = logger;
  }

  /** The leases of all nodes there are. */
  replace(nodes: readonly NodeFacts[]): readonly Lease[] {
    this.#known.clear();
    this.#claims.clear();
    this.#isPartial = false;
    const isOwn = (node: NodeFacts) => node.name === this.#own;
    for (const node of [...nodes.filter(isOwn), ...nodes.filter((each) => !isOwn(each))]) this.#put(node, true);
    return [...this.#claims.values()].flatMap(([holder]) => this.#leaseOf(holder) ?? []);
  }

  /** What these events change, in their order. */
  apply(events: readonly NodeEvent[]): readonly LeaseEvent[] {
    return events.flatMap((event) => {
      if (event.type === "bookmark") return [];
      return event.type === "gone" ? this.#remove(event.node) : this.#put(event.node, event.type === "added");
    });
  }

  #put(node: NodeFacts, isNew: boolean): readonly LeaseEvent[] {
    const { name } = node;
    const fingerprint = JSON.stringify([node.podCIDRs, node.annotations]);
    const before = this.#known.get(name);
    if (before?.fingerprint === fingerprint) return [];
    const lease = this.#read(node);
    this.#known.set(name, { fingerprint, lease });
    const isMoved = before?.lease !== undefined && (lease === undefined || leaseKey(before.lease) !== leaseKey(lease));
    const left = isMoved && before.lease !== undefined ? this.#release(name, before.lease) : [];
    if (lease !== undefined) return [...left, ...this.#claim(name, lease)];
    // One that we never knew with a lease may have had one before we began to listen.
    return before === undefined && !isNew && this.#isPartial ? this.#freed(node) : left;
  }

  #remove(node: NodeFacts): readonly LeaseEvent[] {
    const before = this.#known.get(node.name);
    this.#known.delete(node.name);
    if (before === undefined) return this.#isPartial ? this.#freed(node) : [];
    return before.lease === undefined ? [] : this.#release(node.name, before.lease);
  }

  #claim(name: string, lease: Lease): readonly LeaseEvent[] {
    const key = leaseKey(lease);
    const others = (this.#claims.get(key) ?? []).filter((each) => each !== name);
    const [holder] = this.#claims.get(key) ?? [];
    const holds = others.length === 0 || holder === name || name === this.#own;
    this.#claims.set(key, holds ? [name, ...others] : [...others, name]);
    if (others.length > 0)
      this.#complain(holds ? (others[0] ?? "") : name, `its subnet ${key} is ${holds ? name : others[0]}'s too`);
    return holds ? [{ type: "added", lease }] : [];
  }

  /** Nobody's now, or the next one's that claims it. */
  #release(name: string, { subnet }: Lease): readonly LeaseEvent[] {
    const key = formatPrefix(subnet);
    const claims = this.#claims.get(key) ?? [];
    const others = claims.filter((each) => each !== name);
    if (others.length > 0) this.#claims.set(key, others);
    else this.#claims.delete(key);
    if (claims[0] !== name) return [];
    const next = this.#leaseOf(others[0]);
    return [next === undefined ? { type: "removed", subnet } : { type: "added", lease: next }];
  }

  #freed(node: NodeFacts): readonly LeaseEvent[] {
    try {
      const { ipv4, ipv6 } = subnetsOf(node); // which of them named the lease is not known
      return [ipv4, ipv6].flatMap((subnet) => (subnet === undefined ? [] : [{ type: "removed", subnet }]));
    } catch (error) {
      if (error instanceof InvalidConfigError) return [];
      throw error;
    }
  }

  #leaseOf(name: string | undefined): Lease | undefined {
    return name === undefined ? undefined : this.#known.get(name)?.lease;
  }

  #read(node: NodeFacts): Lease | undefined {
    try {
      return leaseOf(node, node.name === this.#own);
    } catch (error) {
      if (!(error instanceof InvalidConfigError)) throw error;
      this.#complain(node.name, error.message);
      return undefined;
    }
  }

  #complain(node: string, reason: string): void {
    const complaint = JSON.stringify([node, reason]);
    if (this.#complaints.has(complaint)) return;
    if (this.#complaints.size >= MOST_COMPLAINTS) this.#complaints.clear();
    this.#complaints.add(complaint);
    this.#logger.warn("a node's lease makes no sense and is ignored", { node: node.slice(0, 253), reason });
  }
}
