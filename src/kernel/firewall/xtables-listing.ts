import type { Family } from "../../ip/address.ts";
import { formatAddress } from "../../ip/address.ts";
import { parsePrefix } from "../../ip/prefix.ts";
import { type NftJson, nftFamily } from "./nft-rule.ts";
import type { NftObject } from "./nft-table.ts";

/** Modules whose options are understood, or say nothing. */
const KNOWN_MODULES = ["tcp", "udp", "comment", "state", "conntrack", "multiport"];
/** What a rule may do without deciding anything. */
const HARMLESS_TARGETS = [
  "LOG",
  "NFLOG",
  "AUDIT",
  "TRACE",
  "MARK",
  "CONNMARK",
  "CLASSIFY",
  "DSCP",
  "TOS",
  "TCPMSS",
  "SET",
];
const VERDICTS: Readonly<Record<string, string>> = {
  ACCEPT: "accept",
  DROP: "drop",
  REJECT: "reject",
  RETURN: "return",
};

/** What cannot be told from a listing: it may match, or not. */
const UNKNOWN: NftJson = { match: { op: "==", left: { unknown: null }, right: null } };

/**
 * `iptables -t filter -S` in the form of a listing of nftables, so that one packet can be followed through both. A rule's handle is its
 * line's number, from 0. Pure.
 */
export function xtablesListing(lines: readonly string[], family: Family, table: string): readonly NftObject[] {
  return lines.flatMap((line, handle): readonly NftObject[] => {
    const [command, chain = "", ...words] = wordsOf(line);
    const place = { family: nftFamily(family), table };
    if (command === "-P") return [{ chain: { ...place, name: chain, policy: words[0]?.toLowerCase() ?? "" } }];
    if (command === "-N") return [{ chain: { ...place, name: chain } }];
    return command === "-A" ? [{ rule: { ...place, chain, handle, expr: expressionOf(words, family) } }] : [];
  });
}

/** Words as iptables writes them: one with spaces stands in quotes, in which a backslash precedes a quote. */
function wordsOf(line: string): readonly string[] {
  return [...line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(([, quoted, plain = ""]) => quoted ?? plain);
}

function expressionOf(words: readonly string[], family: Family): readonly NftJson[] {
  const statements: NftJson[] = [];
  let isNegated = false;
  for (let at = 0; at < words.length; at += 2) {
    if (words[at] === "!") {
      isNegated = true;
      at++;
    }
    const [option = "", value = ""] = [words[at], words[at + 1]];
    if (option === "-j" || option === "-g") return [...statements, targetOf(option, value)];
    const left = leftOf(option, family);
    if (left === undefined) {
      // How many words the option has is not known, so no later one can be read but the target.
      if (option !== "--comment" && !(option === "-m" && KNOWN_MODULES.includes(value))) {
        const rest = words.findIndex((word, index) => index > at && (word === "-j" || word === "-g"));
        return [...statements, UNKNOWN, ...(rest < 0 ? [] : [targetOf(words[rest] ?? "", words[rest + 1] ?? "")])];
      }
    } else {
      statements.push({ match: { op: isNegated ? "!=" : "==", left, right: rightOf(option, value) } });
    }
    isNegated = false;
  }
  return statements;
}

/** What an option with one value compares; undefined for others. */
function leftOf(option: string, family: Family): NftJson | undefined {
  const protocol = nftFamily(family);
  if (option === "-s") return { payload: { protocol, field: "saddr" } };
  if (option === "-d") return { payload: { protocol, field: "daddr" } };
  if (option === "-i") return { meta: { key: "iifname" } };
  if (option === "-o") return { meta: { key: "oifname" } };
  if (option === "-p") return { meta: { key: "l4proto" } };
  if (option === "--dport" || option === "--dports") return { payload: { protocol: "th", field: "dport" } };
  if (option === "--sport" || option === "--sports") return { payload: { protocol: "th", field: "sport" } };
  if (option === "--state" || option === "--ctstate") return { ct: { key: "state" } };
  return undefined;
}

function rightOf(option: string, value: string): NftJson {
  if (option === "-s" || option === "-d") return prefixOf(value);
  if (option === "-i" || option === "-o") return value.replace(/\+$/, "*");
  if (option === "-p") return /^\d+$/.test(value) ? Number(value) : value;
  if (option.endsWith("state")) return { set: value.toLowerCase().split(",") };
  return { set: value.split(",").map(portOf) };
}

/** `53`, or `8000:9000`. */
function portOf(text: string): NftJson {
  const [first = "", last] = text.split(":");
  return last === undefined ? Number(first) : { range: [Number(first), Number(last)] };
}

function prefixOf(text: string): NftJson {
  const { address, length } = parsePrefix(text);
  return { prefix: { addr: formatAddress(address), len: length } };
}

function targetOf(option: string, target: string): NftJson {
  const verdict = VERDICTS[target];
  if (verdict !== undefined) return { [verdict]: null };
  if (HARMLESS_TARGETS.includes(target)) return { log: null };
  // A chain, or an extension: who looks for a chain of that name and finds none knows that anything may happen.
  return { [option === "-g" ? "goto" : "jump"]: { target } };
}
