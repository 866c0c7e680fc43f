import { tryParseAddress } from "../../ip/address.ts";
import { containsPrefix, overlaps, type Prefix } from "../../ip/prefix.ts";
import type { NftJson } from "./nft-rule.ts";
import type { NftObject } from "./nft-table.ts";

/** A packet on its way through the host's chains, as far as it is known: nobody has heard of its connection yet. */
export interface Probe {
  readonly hook: "forward" | "input";
  readonly protocol: "tcp" | "udp";
  /** Where it goes to; undefined if that is not known. */
  readonly port: number | undefined;
  readonly source: Prefix;
  readonly destination: Prefix;
  /** Link that it comes by; undefined if that is not known. */
  readonly from: string | undefined;
  /** Link that it leaves by, likewise. */
  readonly to: string | undefined;
}

/** What ends a packet's way: a rule, or the policy of a base chain. */
export interface Obstacle {
  readonly table: string;
  readonly chain: string;
  /** Undefined for the policy. */
  readonly handle: number | undefined;
}

type Answer = "yes" | "no" | "maybe";
/** `pass`: nothing in the chain ended it. `open`: something may have, one way or the other. */
type Outcome = "accept" | "pass" | "return" | "open" | Obstacle;

interface Chain {
  readonly name: string;
  readonly policy: string | undefined;
  readonly rules: { readonly handle: number; readonly expression: readonly NftJson[] }[];
}

/** Chains in chains that are followed; the kernel allows 16. */
const DEEPEST = 16;

/**
 * What certainly stops such a packet in a base chain, by the listing of its table. What cannot be told from the listing counts as letting
 * it pass: a false alarm would be worse than none. Pure.
 */
export function findObstacle(objects: readonly NftObject[], chain: string, probe: Probe): Obstacle | undefined {
  const chains = new Map<string, Chain>();
  let table = "";
  for (const { chain: made, rule } of objects) {
    if (typeof made?.["name"] === "string") {
      table = `${made["family"] as string} ${made["table"] as string}`;
      chains.set(made["name"], { name: made["name"], policy: made["policy"] as string | undefined, rules: [] });
    }
    if (typeof rule?.["chain"] === "string" && Array.isArray(rule["expr"]))
      chains.get(rule["chain"])?.rules.push({
        handle: Number(rule["handle"]),
        expression: rule["expr"] as readonly NftJson[],
      });
  }
  const base = chains.get(chain);
  if (base === undefined) return undefined;
  const outcome = new Walk(table, chains, probe).through(base, 0);
  if (typeof outcome === "object") return outcome;
  const isAtEnd = outcome === "pass" || outcome === "return";
  return isAtEnd && base.policy === "drop" ? { table, chain, handle: undefined } : undefined;
}

class Walk {
  readonly #table: string;
  readonly #chains: ReadonlyMap<string, Chain>;
  readonly #probe: Probe;

  constructor(table: string, chains: ReadonlyMap<string, Chain>, probe: Probe) {
    this.#table = table;
    this.#chains = chains;
    this.#probe = probe;
  }

  through(chain: Chain, depth: number): Outcome {
    if (depth > DEEPEST) return "open";
    for (const { handle, expression } of chain.rules) {
      const outcome = this.#rule(chain, handle, expression, depth);
      if (outcome !== "pass") return outcome;
    }
    return "pass";
  }

  #rule(chain: Chain, handle: number, expression: readonly NftJson[], depth: number): Outcome {
    let matches: Answer = "yes";
    for (const statement of expression) {
      const [kind, value] = only(statement);
      if (kind === "match") {
        const answer = matchAnswer(value, this.#probe);
        if (answer === "no") return "pass";
        if (answer === "maybe") matches = "maybe";
        continue;
      }
      const outcome = this.#statement(kind, value, { chain, handle, depth });
      if (outcome === "pass") continue;
      if (matches === "yes") return outcome;
      // It may end here: an obstacle that may not be one is left out, an accept that may be one makes all that follows uncertain.
      if (outcome === "accept" || outcome === "open" || outcome === "return") return "open";
      return "pass";
    }
    return "pass";
  }

  #statement(
    kind: string,
    value: NftJson | undefined,
    { chain, handle, depth }: { readonly chain: Chain; readonly handle: number; readonly depth: number },
  ): Outcome {
    if (kind === "drop" || kind === "reject") return { table: this.#table, chain: chain.name, handle };
    if (kind === "accept" || kind === "return") return kind;
    if (kind === "vmap") return this.#map(value, { chain, handle, depth });
    if (kind === "xt" || kind === "queue" || kind === "tproxy") return "open";
    if (kind !== "jump" && kind !== "goto") return "pass";
    const target = this.#chains.get(field(value, "target") as string);
    if (target === undefined) return "open";
    const outcome = this.through(target, depth + 1);
    if (outcome !== "pass" && outcome !== "return") return outcome;
    return kind === "goto" ? "return" : "pass";
  }

  /** A verdict by key: `ct state vmap { established : accept, invalid : drop }`. */
  #map(value: NftJson | undefined, place: { readonly chain: Chain; readonly handle: number; readonly depth: number }) {
    const entries = field(field(value, "data"), "set");
    if (!Array.isArray(entries)) return "open" as const;
    const left = field(value, "key") ?? null;
    for (const entry of entries as readonly NftJson[]) {
      const [key, verdict] = Array.isArray(entry) ? (entry as readonly NftJson[]) : [];
      if (key === undefined || verdict === undefined) return "open" as const;
      const answer = matchAnswer({ op: "==", left, right: key }, this.#probe);
      if (answer === "no") continue;
      if (answer === "maybe") return "open" as const;
      const [kind, argument] = only(verdict);
      return this.#statement(kind, argument, place);
    }
    return "pass" as const;
  }
}

function matchAnswer(match: NftJson | undefined, probe: Probe): Answer {
  const answer = equalAnswer(field(match, "left"), field(match, "right"), probe);
  const op = field(match, "op");
  if (op === "==" || op === "in") return answer;
  if (op !== "!=" || answer === "maybe") return "maybe";
  return answer === "yes" ? "no" : "yes";
}

function equalAnswer(left: NftJson | undefined, right: NftJson | undefined, probe: Probe): Answer {
  const alternatives = field(right, "set") ?? right;
  if (Array.isArray(alternatives)) {
    const answers = (alternatives as readonly NftJson[]).map((one) => equalAnswer(left, one, probe));
    return answers.includes("yes") ? "yes" : answers.every((answer) => answer === "no") ? "no" : "maybe";
  }
  const [kind, what] = only(left ?? null);
  const key = field(what, "key");
  if (kind === "payload") return payloadAnswer(what, right, probe);
  if (kind === "ct" && key === "state") return right === "new" ? "yes" : "no";
  if (kind === "ct" && key === "status") return "no";
  if (kind !== "meta") return "maybe";
  if (key === "iifname" || key === "iif") return linkAnswer(probe.from, right);
  if (key === "oifname" || key === "oif") return linkAnswer(probe.to, right);
  if (key === "l4proto") return protocolAnswer(right, probe);
  if (key === "nfproto") return right === (probe.source.address.family === 4 ? "ipv4" : "ipv6") ? "yes" : "no";
  return "maybe";
}

function payloadAnswer(what: NftJson | undefined, right: NftJson | undefined, probe: Probe): Answer {
  const protocol = field(what, "protocol");
  const side = field(what, "field");
  if (protocol === probe.protocol || protocol === "th") return side === "dport" ? portAnswer(right, probe) : "maybe";
  if (protocol !== (probe.source.address.family === 4 ? "ip" : "ip6")) return protocol === undefined ? "maybe" : "no";
  if (side === "protocol" || side === "nexthdr") return protocolAnswer(right, probe);
  if (side !== "saddr" && side !== "daddr") return "maybe";
  const listed = prefixOf(right);
  const ours = side === "saddr" ? probe.source : probe.destination;
  if (listed === undefined) return "maybe";
  if (!overlaps(listed, ours)) return "no";
  return containsPrefix(listed, ours) ? "yes" : "maybe";
}

const PROTOCOLS = { tcp: 6, udp: 17 } as const;

function protocolAnswer(right: NftJson | undefined, { protocol }: Probe): Answer {
  return right === protocol || right === PROTOCOLS[protocol] ? "yes" : "no";
}

function portAnswer(right: NftJson | undefined, { port }: Probe): Answer {
  if (port === undefined) return "maybe";
  if (typeof right === "number") return right === port ? "yes" : "no";
  const range = field(right, "range");
  if (!Array.isArray(range)) return "maybe";
  const [first, last] = range as readonly NftJson[];
  return Number(first) <= port && port <= Number(last) ? "yes" : "no";
}

function prefixOf(value: NftJson | undefined): Prefix | undefined {
  const prefix = field(value, "prefix");
  const text = prefix === undefined ? value : field(prefix, "addr");
  const address = typeof text === "string" ? tryParseAddress(text) : undefined;
  if (address === undefined) return undefined;
  const whole = address.family === 4 ? 32 : 128;
  return { address, length: prefix === undefined ? whole : Number(field(prefix, "len")) };
}

function linkAnswer(link: string | undefined, right: NftJson | undefined): Answer {
  if (typeof right !== "string") return "maybe";
  if (link === undefined) return right === "lo" ? "no" : "maybe";
  if (right.endsWith("*")) return link.startsWith(right.slice(0, -1)) ? "yes" : "no";
  return link === right ? "yes" : "no";
}

/** The one key of an object and what it holds; a bare word stands for itself. */
function only(value: NftJson): readonly [string, NftJson | undefined] {
  if (typeof value === "string") return [value, undefined];
  if (typeof value !== "object" || value === null || Array.isArray(value)) return ["", undefined];
  return (Object.entries(value) as readonly (readonly [string, NftJson])[])[0] ?? ["", undefined];
}

function field(value: NftJson | undefined, key: string): NftJson | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  return (value as { readonly [key: string]: NftJson })[key];
}
