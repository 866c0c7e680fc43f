import { readFileSync } from "node:fs";
import { join } from "node:path";
import { addToAddress, formatAddress } from "../../src/ip/address.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { parseSubnetEnv } from "../../src/lease/subnet-env.ts";

/** Where a host's networks write their files. */
export const directoryOf = (host: LabHost) => join(host.directory, "networks");

/** What a network has published on a host; undefined if nothing. */
export function envOf(host: LabHost, network: string) {
  try {
    return parseSubnetEnv(readFileSync(join(directoryOf(host), `${network}.env`), "utf8"));
  } catch {
    return undefined;
  }
}

/** Gives the host an address in its subnet, so that there is something to ping. @returns it */
export async function inhabit(host: LabHost, network: string): Promise<string> {
  const subnet = envOf(host, network)?.subnet;
  if (subnet === undefined) throw new Error(`no ${network} on ${host.name}`);
  const address = formatAddress(addToAddress(subnet.address, 1n));
  await host.namespace.ip([`addr add ${address}/32 dev lo`]);
  return address;
}
