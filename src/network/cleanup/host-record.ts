import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { RouteClaim } from "../../cloud/cloud.ts";
import { equalPrefix, formatPrefix, networkOf, type Prefix } from "../../ip/prefix.ts";
import { parseSubnetEnv } from "../../lease/subnet-env.ts";
import type { Logger } from "../../lib/logger.ts";
import { HostStateFile } from "../host-state.ts";

/** What is written down of the networks that this host was in. */
export interface HostRecord {
  readonly networks: readonly Prefix[];
  /** The subnets it held, of which Network. */
  readonly held: readonly { readonly network: Prefix; readonly subnet: Prefix }[];
  /** Devices made for them. */
  readonly links: readonly string[];
  /** What may be in clouds' route tables. */
  readonly claims: readonly RouteClaim[];
  /** Files in which subnets were published, those that are there. */
  readonly subnetFiles: readonly string[];
  readonly states: readonly HostStateFile[];
}

export interface RecordPlaces {
  readonly stateDir: string;
  readonly subnetFile: string;
  readonly subnetDir: string;
  /** Networks that nothing tells of, named by a person. */
  readonly networks: readonly Prefix[];
}

/** Reads state files and published subnets, of this and of other flannels. What makes no sense is left out, and warned of. */
export async function readHostRecord(places: RecordPlaces, logger: Logger): Promise<HostRecord> {
  const states = await HostStateFile.all(places.stateDir, logger);
  const names = await readdir(places.subnetDir).catch(() => []);
  const inDirectory = names.filter((name) => name.endsWith(".env")).map((name) => join(places.subnetDir, name));
  const candidates = [places.subnetFile, ...inDirectory, ...states.map(({ subnetFile }) => subnetFile)];
  const networks: Prefix[] = [...places.networks];
  const held: { network: Prefix; subnet: Prefix }[] = [];
  const links: string[] = [];
  const claims: RouteClaim[] = [];
  const subnetFiles: string[] = [];
  for (const state of states) {
    const { network, subnet, ...made } = await state.read();
    networks.push(...made.networks, ...(network === undefined ? [] : [network]));
    if (network !== undefined && subnet !== undefined) held.push({ network, subnet });
    links.push(...made.links);
    claims.push(...made.claims);
  }
  for (const file of new Set(candidates)) {
    const text = await readFile(file, "utf8").catch(() => undefined);
    if (text === undefined) continue;
    try {
      const { network, subnet } = parseSubnetEnv(text);
      networks.push(network);
      held.push({ network, subnet: networkOf(subnet.address, subnet.length) });
      subnetFiles.push(file);
    } catch {
      logger.warn("not a subnet file of flannel's; it is left alone", { file });
    }
  }
  const distinct = networks.filter((each, index) => networks.findIndex((other) => equalPrefix(each, other)) === index);
  return {
    networks: distinct.toSorted((a, b) => (formatPrefix(a) < formatPrefix(b) ? -1 : 1)),
    held,
    links: [...new Set(links)],
    claims,
    subnetFiles,
    states,
  };
}
