import { chmod, mkdir, readdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import * as v from "valibot";
import type { RouteClaim } from "../cloud/cloud.ts";
import { type Address, formatAddress, parseAddress } from "../ip/address.ts";
import { type MacAddress, parseMacAddress } from "../ip/mac-address.ts";
import { formatPrefix, type Prefix, parsePrefix } from "../ip/prefix.ts";
import type { Cursor } from "../lease/lease.ts";
import { writeFileAtomically } from "../lib/atomic-file.ts";
import { describeError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";

/** What of one network on this host outlives a restart and a reboot. */
export interface HostState {
  /** The subnet last held, and the Network it was taken from. */
  readonly network?: Prefix;
  readonly subnet?: Prefix;
  readonly ipv6Subnet?: Prefix;
  /** By which the lease on it was ours. */
  readonly publicIP?: Address;
  /** Devices made for the network. */
  readonly links: readonly string[];
  /** Networks whose rows may still be in the kernel. */
  readonly networks: readonly Prefix[];
  /** What may still be in a cloud's route tables. */
  readonly claims: readonly RouteClaim[];
  /** The MAC of the device that peers know. */
  readonly mac?: MacAddress;
  /** The same of the device for IPv6. */
  readonly macV6?: MacAddress;
  /** Where the store's history stood. */
  readonly cursor?: Cursor;
  /** Until when rows that the store no longer tells of are left alone, since its history was reset; ms since 1970. */
  readonly spareUntil?: number;
  /** What the backend wrote down for its next run, by name. */
  readonly notes?: Readonly<Record<string, string>>;
}

export const NO_STATE: HostState = { links: [], networks: [], claims: [] };

const StoredState = v.object({
  network: v.optional(v.string()),
  subnet: v.optional(v.string()),
  ipv6Subnet: v.optional(v.string()),
  publicIP: v.optional(v.string()),
  links: v.optional(v.array(v.string()), []),
  networks: v.optional(v.array(v.string()), []),
  claims: v.optional(
    v.array(
      v.object({
        cloud: v.picklist(["vpc", "compute-engine"]),
        address: v.string(),
        routeTables: v.array(v.string()),
        subnets: v.array(v.string()),
      }),
    ),
    [],
  ),
  mac: v.optional(v.string()),
  macV6: v.optional(v.string()),
  cursor: v.optional(v.object({ history: v.string(), index: v.pipe(v.string(), v.regex(/^\d{1,20}$/)) })),
  spareUntil: v.optional(v.pipe(v.number(), v.finite())),
  notes: v.optional(v.record(v.string(), v.string())),
});

/** A file name has at most 255 bytes. */
const LONGEST_ID = 200;

/** The state of one network, told apart from another daemon's on the same host by the file it publishes. */
export class HostStateFile {
  /** The file it publishes. */
  readonly subnetFile: string;
  readonly #directory: string;
  readonly #path: string;
  readonly #logger: Logger;
  /** What is on disk. */
  #written = "";
  /** The failure that was told last. */
  #complaint = "";

  constructor(stateDir: string, subnetFile: string, logger: Logger) {
    this.subnetFile = resolve(subnetFile);
    const id = encodeURIComponent(this.subnetFile).slice(-LONGEST_ID);
    this.#directory = stateDir;
    this.#path = join(stateDir, `network-${id}.json`);
    this.#logger = logger;
  }

  /** Those of every network of this directory, whichever daemon's. */
  static async all(stateDir: string, logger: Logger): Promise<readonly HostStateFile[]> {
    const names = await readdir(stateDir).catch(() => []);
    return names.flatMap((name) => {
      const id = /^network-(.+)\.json$/.exec(name)?.[1];
      const file = id === undefined ? undefined : new HostStateFile(stateDir, decodeId(id), logger);
      if (file === undefined || file.#path === join(stateDir, name)) return file ?? [];
      logger.warn("it cannot be told whose state this is; it is not used", { file: join(stateDir, name) });
      return [];
    });
  }

  /** Nothing if there is none yet, or if it makes no sense: then what is in it is lost, which only costs comfort. */
  async read(): Promise<HostState> {
    try {
      const text = await readFile(this.#path, "utf8");
      const state = decode(text);
      this.#written = text;
      return state;
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return NO_STATE;
      this.#logger.warn("state of an earlier run is not usable", { file: this.#path, reason: describeError(error) });
      return NO_STATE;
    }
  }

  /** Atomic and durable. A failure is logged, once: a daemon with a full disk still carries packets. */
  async write(state: HostState): Promise<void> {
    const text = encode(state);
    if (text === this.#written) return;
    try {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      await chmod(this.#directory, 0o700);
      await writeFileAtomically(this.#path, text, { mode: 0o600 });
      this.#written = text;
      this.#complaint = "";
    } catch (error) {
      const reason = describeError(error);
      if (this.#complaint === reason) return;
      this.#complaint = reason;
      this.#logger.error("cannot remember state for the next start", {
        file: this.#path,
        reason,
      });
    }
  }
}

function decodeId(id: string): string {
  try {
    return decodeURIComponent(id);
  } catch {
    return id; // cut in the middle of a letter
  }
}

function decode(text: string): HostState {
  const stored = v.parse(StoredState, JSON.parse(text));
  return {
    links: stored.links,
    networks: stored.networks.map(parsePrefix),
    claims: stored.claims.map(({ address, subnets, ...claim }) => ({
      ...claim,
      address: parseAddress(address),
      subnets: subnets.map(parsePrefix),
    })),
    ...(stored.network !== undefined && { network: parsePrefix(stored.network) }),
    ...(stored.subnet !== undefined && { subnet: parsePrefix(stored.subnet) }),
    ...(stored.ipv6Subnet !== undefined && { ipv6Subnet: parsePrefix(stored.ipv6Subnet) }),
    ...(stored.publicIP !== undefined && { publicIP: parseAddress(stored.publicIP) }),
    ...(stored.mac !== undefined && { mac: parseMacAddress(stored.mac) }),
    ...(stored.macV6 !== undefined && { macV6: parseMacAddress(stored.macV6) }),
    ...(stored.cursor !== undefined && {
      cursor: { history: stored.cursor.history, index: BigInt(stored.cursor.index) },
    }),
    ...(stored.spareUntil !== undefined && { spareUntil: stored.spareUntil }),
    ...(stored.notes !== undefined && { notes: stored.notes }),
  };
}

function encode(host: HostState): string {
  const { network, subnet, ipv6Subnet, publicIP, links, networks, claims, mac, macV6, cursor, spareUntil, notes } =
    host;
  const state: v.InferInput<typeof StoredState> = {
    network: network && formatPrefix(network),
    subnet: subnet && formatPrefix(subnet),
    ipv6Subnet: ipv6Subnet && formatPrefix(ipv6Subnet),
    publicIP: publicIP && formatAddress(publicIP),
    links: [...links],
    networks: networks.map(formatPrefix),
    claims: claims.map(({ cloud, address, routeTables, subnets }) => ({
      cloud,
      address: formatAddress(address),
      routeTables: [...routeTables],
      subnets: subnets.map(formatPrefix),
    })),
    mac,
    macV6,
    cursor: cursor && { history: cursor.history, index: String(cursor.index) },
    spareUntil,
    notes: notes && { ...notes },
  };
  return `${JSON.stringify(state, undefined, 2)}\n`;
}
