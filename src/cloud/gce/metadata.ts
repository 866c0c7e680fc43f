import * as v from "valibot";
import { type Address, equalAddress, formatAddress, tryParseAddress } from "../../ip/address.ts";
import { networkOf, type Prefix } from "../../ip/prefix.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Milliseconds } from "../../lib/clock.ts";
import { CloudError, foreignText } from "../cloud-error.ts";
import { envUrl } from "../env-url.ts";
import { askMetadata } from "../metadata-request.ts";

/** This Compute Engine instance, by the interface that has the host's address. */
export interface GceInstance {
  readonly project: string;
  readonly zone: string;
  readonly name: string;
  /** As in URLs: `projects/p/zones/z/instances/n`. */
  readonly path: string;
  /** Of the interface: `projects/p/global/networks/n`. */
  readonly network: string;
  /** Of the interface, both families'. */
  readonly addresses: readonly Address[];
  /** The interface's subnetwork. */
  readonly ranges: readonly Prefix[];
}

const TIMEOUT: Milliseconds = 5_000;

const Interfaces = v.array(
  v.object({
    ip: v.optional(v.string(), ""),
    ipv6s: v.optional(v.array(v.string()), []),
    network: v.string(),
    subnetmask: v.optional(v.string(), ""),
  }),
);

/** Of every subnetwork's IPv6 range; the metadata does not say. */
const IPV6_RANGE_LENGTH = 64;

/**
 * Asks the metadata server, which `GCE_METADATA_HOST` may name as for Google's own libraries.
 * "View and query VM metadata", Compute Engine documentation.
 * @throws {CloudError}
 */
export async function describeInstance(
  address: Address,
  env: Readonly<Record<string, string | undefined>>,
  options: Abortable,
): Promise<GceInstance> {
  const host = env["GCE_METADATA_HOST"] || "169.254.169.254";
  const base = envUrl("GCE_METADATA_HOST", `http://${host}/computeMetadata/v1/`);
  const ask = async (path: string, form: RegExp): Promise<string> => {
    const headers = { "metadata-flavor": "Google" };
    const { status, body, ...answer } = await askMetadata(new URL(path, base), {
      ...options,
      headers,
      timeout: TIMEOUT,
    });
    if (answer.headers["metadata-flavor"] !== "Google")
      throw new CloudError("unreachable", `what answers at ${base.origin} is no Compute Engine metadata server`);
    const text = body.trim();
    if (status !== 200 || !form.test(text))
      throw new CloudError("other", `metadata says of ${path}: status ${status}, ${JSON.stringify(foreignText(text))}`);
    return text;
  };
  const [project, number, name, zonePath, interfacesText] = await Promise.all([
    ask("project/project-id", /^[a-z0-9.:-]+$/),
    ask("project/numeric-project-id", /^\d+$/),
    ask("instance/name", /^[a-z0-9-]+$/),
    ask("instance/zone", /^projects\/\d+\/zones\/[a-z0-9-]+$/),
    ask("instance/network-interfaces/?recursive=true", /^\[/),
  ]);
  const zone = lastPart(zonePath);
  const found = interfaceWith(address, interfacesText);
  const [, owner, network] = /^projects\/(\d+)\/(?:global\/)?networks\/([a-z0-9-]+)$/.exec(found.network) ?? [];
  if (owner === undefined || network === undefined)
    throw new CloudError(
      "other",
      `metadata says of the interface's network: ${JSON.stringify(foreignText(found.network))}`,
    );
  if (owner !== number)
    throw new CloudError(
      "other",
      `network ${network} belongs to project ${owner} and is shared with ${project}: routes through instances of other projects are not supported`,
    );
  return {
    project,
    zone,
    name,
    path: `projects/${project}/zones/${zone}/instances/${name}`,
    network: `projects/${project}/global/networks/${network}`,
    addresses: addressesOf(found),
    ranges: rangesOf(found),
  };
}

function interfaceWith(address: Address, text: string): Interface {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), Interfaces), text);
  if (!parsed.success) throw new CloudError("other", "metadata says nothing of network interfaces that could be read");
  const found = parsed.output.find((each) => addressesOf(each).some((own) => equalAddress(own, address)));
  if (found === undefined)
    throw new CloudError(
      "gone",
      `no network interface of this instance has the address ${formatAddress(address)}; they have ${parsed.output.flatMap(addressesOf).map(formatAddress).join(", ")} (--iface says which to use)`,
    );
  return found;
}

type Interface = v.InferOutput<typeof Interfaces>[number];

function addressesOf({ ip, ipv6s }: Interface): readonly Address[] {
  return [ip, ...ipv6s].map((text) => tryParseAddress(text)).filter((address) => address !== undefined);
}

function rangesOf(found: Interface): readonly Prefix[] {
  const mask = tryParseAddress(found.subnetmask);
  const length = mask?.family === 4 ? mask.value.toString(2).replaceAll("0", "").length : undefined;
  return addressesOf(found).flatMap((address) => {
    if (address.family === 6) return [networkOf(address, IPV6_RANGE_LENGTH)];
    return length === undefined ? [] : [networkOf(address, length)];
  });
}

function lastPart(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
