import { formatPrefix } from "../ip/prefix.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";
import { isAtLeast } from "./cni-version.ts";
import { isJsonObject, type JsonObject } from "./json-object.ts";
import type { NetworkConfig } from "./network-config.ts";
import type { SubnetFile } from "./subnet-file.ts";

/** A network's config for the plugin that does the work. */
export type DelegateConfig = JsonObject & { readonly name: string; readonly type: string };

/**
 * What the administrator wrote for the delegate, completed by what flanneld found out; what is written wins.
 * @throws {CniError} if `ipam.routes` is no list of objects
 */
export function renderDelegateConfig(config: NetworkConfig, file: SubnetFile): DelegateConfig {
  const { name, delegate, runtimeConfig } = config;
  return {
    ipMasq: !file.ipMasq, // somebody must
    mtu: file.mtu,
    ...(delegate.type === "bridge" && { isGateway: true }),
    ...delegate,
    cniVersion: config.cniVersion,
    name,
    ...(runtimeConfig && { runtimeConfig }),
    ipam: {
      type: "host-local",
      ...config.ipam,
      ranges: file.subnets.map((subnet) => [{ subnet: formatPrefix(subnet) }]),
      routes: [
        ...parseRoutes(config.ipam["routes"]),
        ...file.networks.map((network) => ({ dst: formatPrefix(network) })),
      ],
    },
  };
}

/** With the result that the runtime remembers, in the version that it speaks now, which need not be that of the ADD. */
export function withPreviousResult(delegate: DelegateConfig, config: NetworkConfig): DelegateConfig {
  const { cniVersion, prevResult } = config;
  if (prevResult === undefined || !isAtLeast(cniVersion, "0.3.0")) return delegate; // earlier ones have no such field
  return { ...delegate, cniVersion, prevResult };
}

/**
 * For CHECK: a route without a gateway goes through the address's, as CNI has it. The bridge plugin does so when it adds the route, but
 * when it checks looks for one without a gateway, and so would find every pod of flannel's broken.
 */
export function withGateways(prevResult: JsonObject): JsonObject {
  const { ips, routes } = prevResult;
  if (!Array.isArray(ips) || !Array.isArray(routes)) return prevResult;
  const gateways = ips.map((ip: unknown) => (isJsonObject(ip) ? ip["gateway"] : undefined)).filter(isText);
  const complete = routes.map((route: unknown) => {
    if (!isJsonObject(route) || isText(route["gw"]) || !isText(route["dst"])) return route;
    const isIPv6 = route["dst"].includes(":");
    const gw = gateways.find((gateway) => gateway.includes(":") === isIPv6);
    return gw === undefined ? route : { ...route, gw };
  });
  return { ...prevResult, routes: complete };
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

/** What the delegate may take for granted in GC. */
export function withValidAttachments(delegate: DelegateConfig, config: NetworkConfig): DelegateConfig {
  const { cniVersion, validAttachments = [] } = config;
  return { ...delegate, cniVersion, "cni.dev/valid-attachments": validAttachments };
}

function parseRoutes(value: unknown): readonly JsonObject[] {
  const routes = value ?? [];
  if (Array.isArray(routes) && routes.every(isJsonObject)) return routes;
  throw new CniError(
    CNI_CODE.invalidConfig,
    `ipam.routes is ${JSON.stringify(value)}: a list of objects with \`dst\` is expected`,
  );
}
