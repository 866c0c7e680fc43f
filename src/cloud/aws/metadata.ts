import { type Address, equalAddress, formatAddress, tryParseAddress } from "../../ip/address.ts";
import { type Prefix, parsePrefix } from "../../ip/prefix.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Milliseconds } from "../../lib/clock.ts";
import { CloudError, foreignText, isCloudError } from "../cloud-error.ts";
import { envUrl } from "../env-url.ts";
import { askMetadata } from "../metadata-request.ts";

/** This EC2 instance, by the interface that has the host's address. */
export interface Ec2Instance {
  readonly instance: string;
  readonly region: string;
  /** `aws`, `aws-cn`, `aws-us-gov`: the second part of every ARN. */
  readonly partition: string;
  /** Undefined if the metadata does not say. */
  readonly account: string | undefined;
  readonly networkInterface: string;
  readonly subnet: string;
  readonly vpc: string;
  /** Of the interface, both families'. */
  readonly addresses: readonly Address[];
  /** The VPC's own. */
  readonly ranges: readonly Prefix[];
}

/** The settings of AWS's SDKs for the metadata service. */
type Settings = Readonly<Record<string, string | undefined>>;

/** A token's request meets a hop limit of 1 where we run in a container without the host's network: no answer comes then. */
const TOKEN_TIMEOUT: Milliseconds = 1_000;
const TIMEOUT: Milliseconds = 5_000;
/** Long enough for the dozen of requests that follow. */
const TOKEN_SECONDS = 60;

/**
 * Asks the instance metadata service, version 2 before version 1.
 * "Use instance metadata to manage your EC2 instance", Amazon EC2 User Guide.
 * @throws {CloudError}
 */
export async function describeInstance(address: Address, env: Settings, options: Abortable): Promise<Ec2Instance> {
  const ask = await openMetadata(env, options);
  const [instance, region, partition, macs] = await Promise.all([
    ask("instance-id", /^i-[0-9a-f]+$/),
    regionOf(ask),
    optional(ask("services/partition", /^aws(-[a-z]+)*$/)),
    ask("network/interfaces/macs/", /^([0-9a-f]{2}(:[0-9a-f]{2}){5}\/?\s*)+$/i),
  ]);
  const { mac, addresses } = await interfaceWith(address, lines(macs), ask);
  const of = (item: string) => `network/interfaces/macs/${mac}/${item}`;
  const [networkInterface, subnet, vpc, account, ipv4, ipv6] = await Promise.all([
    ask(of("interface-id"), /^eni-[0-9a-f]+$/),
    ask(of("subnet-id"), /^subnet-[0-9a-f]+$/),
    ask(of("vpc-id"), /^vpc-[0-9a-f]+$/),
    optional(ask(of("owner-id"), /^\d{12}$/)),
    optional(ask(of("vpc-ipv4-cidr-blocks"), /^[\d./\s]+$/)),
    optional(ask(of("vpc-ipv6-cidr-blocks"), /^[\da-f:./\s]+$/i)),
  ]);
  const ranges = [...lines(ipv4 ?? ""), ...lines(ipv6 ?? "")].map((text) => parsePrefix(text));
  return {
    instance,
    region,
    partition: partition ?? "aws",
    account,
    networkInterface,
    subnet,
    vpc,
    addresses,
    ranges,
  };
}

/** One item of the metadata, which must look like that. */
type Ask = (path: string, form: RegExp) => Promise<string>;

async function openMetadata(env: Settings, { signal }: Abortable): Promise<Ask> {
  const base = new URL("latest/", envUrl("AWS_EC2_METADATA_SERVICE_ENDPOINT", withSlash(endpointOf(env))));
  const token = await openSession(base, env, { signal });
  const headers = token === undefined ? undefined : { "x-aws-ec2-metadata-token": token };
  return async (path, form) => {
    const url = new URL(`meta-data/${path}`, base);
    const answer = await askMetadata(url, { signal, timeout: TIMEOUT, ...(headers !== undefined && { headers }) });
    if (answer.status === 404) throw new CloudError("gone", `instance metadata has no ${path}`);
    if (answer.status === 401 && token === undefined)
      throw new CloudError(
        "unreachable",
        "instance metadata wants version 2, and no token can be had: its hop limit is too small for where flanneld runs (aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 2)",
      );
    if (answer.status !== 200) throw refusal(path, answer.status);
    const text = answer.body.trim();
    if (!form.test(text))
      throw new CloudError("other", `instance metadata says of ${path}: ${JSON.stringify(foreignText(text))}`);
    return text;
  };
}

function refusal(path: string, status: number): CloudError {
  const why =
    status === 403
      ? "it is turned off (aws ec2 modify-instance-metadata-options --http-endpoint enabled)"
      : `status ${status}`;
  return new CloudError("unreachable", `instance metadata does not give ${path}: ${why}`);
}

/** A token of version 2; undefined where there is none, for version 1. */
async function openSession(base: URL, env: Settings, { signal }: Abortable): Promise<string | undefined> {
  const isSecondOnly = env["AWS_EC2_METADATA_V1_DISABLED"]?.toLowerCase() === "true";
  try {
    const { status, body } = await askMetadata(new URL("api/token", base), {
      method: "PUT",
      headers: { "x-aws-ec2-metadata-token-ttl-seconds": String(TOKEN_SECONDS) },
      timeout: TOKEN_TIMEOUT,
      signal,
    });
    if (status === 200 && /^[\x21-\x7e]+$/.test(body)) return body;
    if (status === 403 || isSecondOnly) throw refusal("a token", status);
  } catch (error) {
    if (isSecondOnly || !isCloudError(error, "silent")) throw error; // nobody is there at all
  }
  return undefined;
}

/** As AWS's SDKs find it. */
function endpointOf(env: Settings): string {
  const given = env["AWS_EC2_METADATA_SERVICE_ENDPOINT"];
  if (given) return given;
  const isIpv6 = env["AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"]?.toLowerCase() === "ipv6";
  return isIpv6 ? "http://[fd00:ec2::254]" : "http://169.254.169.254";
}

function withSlash(url: string): string {
  return url.endsWith("/") ? url : `${url}/`;
}

/** Older metadata has no region; then the zone's name without its letter. Zones beside a region, as us-west-2-lax-1a, came with the newer. */
async function regionOf(ask: Ask): Promise<string> {
  const region = await optional(ask("placement/region", /^[a-z]{2,}(-[a-z]+)+-\d+$/));
  return region ?? (await ask("placement/availability-zone", /^[a-z]{2,}(-[a-z]+)+-\d+[a-z]$/)).slice(0, -1);
}

interface KnownInterface {
  readonly mac: string;
  readonly addresses: readonly Address[];
}

async function interfaceWith(address: Address, macs: readonly string[], ask: Ask): Promise<KnownInterface> {
  const interfaces: KnownInterface[] = [];
  for (const mac of macs.map((line) => line.replace(/\/$/, ""))) {
    const found = { mac, addresses: await addressesOf(mac, ask) };
    if (found.addresses.some((own) => equalAddress(own, address))) return found;
    interfaces.push(found);
  }
  throw noInterfaceWith(
    address,
    interfaces.flatMap(({ addresses }) => addresses),
  );
}

/** @param have what the instance's interfaces have */
function noInterfaceWith(address: Address, have: readonly Address[]): CloudError {
  const isFirstIPv6 = address.family === 6 && have.every(({ family }) => family === 4);
  const hint = isFirstIPv6
    ? "IPv6 must be in the VPC, in the subnet and at the interface: aws ec2 associate-vpc-cidr-block, associate-subnet-cidr-block, assign-ipv6-addresses"
    : "--iface says which to use";
  return new CloudError(
    "gone",
    `no network interface of this instance has the address ${formatAddress(address)}; they have ${have.map(formatAddress).join(", ")} (${hint})`,
  );
}

async function addressesOf(mac: string, ask: Ask): Promise<readonly Address[]> {
  const items = ["local-ipv4s", "ipv6s"].map((item) =>
    optional(ask(`network/interfaces/macs/${mac}/${item}`, /^[\da-f:.\s]+$/i)),
  );
  return (await Promise.all(items))
    .flatMap((text) => lines(text ?? ""))
    .map((text) => tryParseAddress(text))
    .filter((address) => address !== undefined);
}

async function optional(asked: Promise<string>): Promise<string | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (isCloudError(error, "gone")) return undefined;
    throw error;
  }
}

function lines(text: string): readonly string[] {
  return text.split(/\s+/).filter((line) => line !== "");
}
