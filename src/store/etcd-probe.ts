import * as v from "valibot";
import { ConfigNotFoundError, StoreRefusedError, StoreUnavailableError } from "../lease/errors.ts";
import type { NetworkName } from "../lease/lease.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Clock } from "../lib/clock.ts";
import type { EtcdOptions } from "./etcd/options.ts";
import { Keyspace } from "./etcd-v3/keyspace.ts";
import type { Registry } from "./registry.ts";

/** Whose configs and leases say that an API is flannel's: those of networks by name, or of any. */
export type NetworkChoice = readonly NetworkName[] | "all";

/** No network can have this name: in a flannel server's paths it means the unnamed one. */
const NO_NETWORK = "_";

/**
 * Whether this API holds a config of any of the networks; false if the server definitively does not have this API.
 * @throws {StoreUnavailableError}, {StoreRefusedError}: no answer
 */
export async function holdsConfig(registry: Registry, networks: NetworkChoice, options: Abortable): Promise<boolean> {
  try {
    for (const network of networks === "all" ? [""] : networks)
      if (await isConfigured(registry, network, options)) return true;
    return networks === "all" && (await registry.listNetworks(options)).networks.length > 0;
  } catch (error) {
    if (await isMissingApi(error)) return false;
    throw error;
  }
}

async function isConfigured(registry: Registry, network: NetworkName, options: Abortable): Promise<boolean> {
  try {
    await registry.getConfig(network, options);
    return true;
  } catch (error) {
    if (error instanceof ConfigNotFoundError) return false;
    throw error;
  }
}

export async function holdsLeases(registry: Registry, networks: NetworkChoice, options: Abortable): Promise<boolean> {
  const names = networks === "all" ? ["", ...(await registry.listNetworks(options)).networks] : networks;
  for (const network of names) if ((await registry.listLeases(network, options)).leases.length > 0) return true;
  return false;
}

/** The cluster's id, the same by both APIs; undefined if the server does not have this API or the user may not ask. @throws {StoreUnavailableError} */
export async function clusterId(registry: Registry, options: Abortable): Promise<string | undefined> {
  try {
    return (await registry.listLeases(NO_NETWORK, options)).cursor.history;
  } catch (error) {
    if (error instanceof StoreRefusedError) return undefined;
    throw error;
  }
}

/**
 * Whether etcd's v3 API has no config of any of the networks, by what its JSON gateway says. gRPC is 80 ms of code that a host on
 * the v2 API would load for this one answer. False if there is no clear answer: no gateway (etcd before 3.4), a user to log in.
 */
export async function gatewayShowsNoConfig(
  options: EtcdOptions,
  networks: NetworkChoice,
  clock: Clock,
  { signal }: Abortable,
): Promise<boolean> {
  if (options.credentials !== undefined || networks === "all") return false;
  const { HttpClient } = await import("./etcd-v2/http-client.ts");
  const keys = new Keyspace(options.prefix);
  using http = new HttpClient(options, clock);
  const isAbsent = async (network: NetworkName) => {
    const body = JSON.stringify({ key: Buffer.from(keys.config(network)).toString("base64"), count_only: true });
    for (const endpoint of options.endpoints) {
      try {
        const answer = await http.exchange(endpoint, { method: "POST", path: "/v3/kv/range", body }, { signal });
        return answer.status === 200 && v.is(EmptyRange, JSON.parse(answer.body));
      } catch (error) {
        signal.throwIfAborted();
        if (
          !(
            error instanceof StoreUnavailableError ||
            error instanceof StoreRefusedError ||
            error instanceof SyntaxError
          )
        )
          throw error;
      }
    }
    return false;
  };
  return (await Promise.all(networks.map(isAbsent))).every((absent) => absent);
}

/** What the gateway answers when there is no such key; `count` is left out when it is 0. */
const EmptyRange = v.object({
  header: v.object({ cluster_id: v.pipe(v.string(), v.digits()), revision: v.pipe(v.string(), v.digits()) }),
  kvs: v.optional(v.never()),
  count: v.optional(v.literal("0")),
});

/** Whether an endpoint says of itself that it is etcd 2, which knows nothing of the v3 API, and so never answers to it. */
export async function isEtcd2(options: EtcdOptions, clock: Clock, { signal }: Abortable): Promise<boolean> {
  const { HttpClient } = await import("./etcd-v2/http-client.ts");
  using http = new HttpClient(options, clock);
  for (const endpoint of options.endpoints) {
    try {
      const { status, body } = await http.exchange(endpoint, { method: "GET", path: "/version" }, { signal });
      if (status === 200 && /^\{"etcdserver":"2\.\d/.test(body.trim())) return true;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof StoreUnavailableError || error instanceof StoreRefusedError)) throw error;
    }
  }
  return false;
}

/** Imports the APIs' errors only when there is one to look at: a start by a remembered choice shall not load the other API. */
async function isMissingApi(error: unknown): Promise<boolean> {
  if (!(error instanceof StoreRefusedError)) return false;
  const { EtcdV2DisabledError } = await import("./etcd-v2/keys-api.ts");
  const { NoV3ApiError } = await import("./etcd-v3/grpc-failure.ts");
  return [error, error.cause].some((each) => each instanceof EtcdV2DisabledError || each instanceof NoV3ApiError);
}
