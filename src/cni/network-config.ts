import { CNI_CODE, CniError } from "./cni-error.ts";
import { type CniVersion, isSupportedVersion, OLDEST_VERSION, SUPPORTED_VERSIONS } from "./cni-version.ts";
import { type Attachment, parseAttachment } from "./environment.ts";
import { isJsonObject, type JsonObject } from "./json-object.ts";

/** What the runtime sends on standard input: the network's config as an administrator wrote it, and the runtime's own fields. */
export interface NetworkConfig {
  readonly cniVersion: CniVersion;
  readonly name: string;
  /** What flanneld wrote. */
  readonly subnetFile: string;
  /** Where the delegate's config of each container is kept. */
  readonly dataDir: string;
  /** Fields for the plugin that does the work, and its `type`. */
  readonly delegate: JsonObject & { readonly type: string };
  /** Fields for the plugin that hands out addresses. */
  readonly ipam: JsonObject;
  readonly runtimeConfig: JsonObject | undefined;
  /** The result of the ADD before, as the runtime remembers it. */
  readonly prevResult: JsonObject | undefined;
  /** GC: whatever else is left of this network may go. Undefined if the runtime did not say. */
  readonly validAttachments: readonly Attachment[] | undefined;
}

const DEFAULT_SUBNET_FILE = "/run/flannel/subnet.env";
const DEFAULT_DATA_DIR = "/var/lib/cni/flannel";

/** The runtime library writes both; earlier ones only the second. */
const VALID_ATTACHMENTS = ["cni.dev/valid-attachments", "cni.dev/attachments"];

/** @throws {CniError} naming field and value */
export function parseNetworkConfig(json: JsonObject): NetworkConfig {
  return {
    cniVersion: parseVersion(json),
    name: parseName(json["name"]),
    subnetFile: parsePath(json, "subnetFile") ?? DEFAULT_SUBNET_FILE,
    dataDir: parsePath(json, "dataDir") ?? DEFAULT_DATA_DIR,
    delegate: parseDelegate(parseObject(json, "delegate") ?? {}),
    ipam: parseObject(json, "ipam") ?? {},
    runtimeConfig: parseObject(json, "runtimeConfig"),
    prevResult: parseObject(json, "prevResult"),
    validAttachments: parseValidAttachments(json),
  };
}

function parseVersion(json: JsonObject): CniVersion {
  const value = json["cniVersion"] ?? "";
  if (value === "") return OLDEST_VERSION;
  if (typeof value === "string" && isSupportedVersion(value)) return value;
  throw new CniError(
    CNI_CODE.incompatibleVersion,
    `cniVersion is ${JSON.stringify(value)}; this plugin knows ${SUPPORTED_VERSIONS.join(", ")}`,
  );
}

function parseName(value: unknown): string {
  if (typeof value === "string" && /^[a-zA-Z0-9][\w.-]*$/.test(value)) return value;
  throw invalid("name", value, 'letters, digits, "_", "." and "-" are expected, the first a letter or a digit');
}

function parsePath(json: JsonObject, key: string): string | undefined {
  const value = json[key] ?? "";
  if (value === "") return undefined;
  if (typeof value !== "string" || value.includes("\0")) throw invalid(key, value, "a path is expected");
  return value;
}

function parseObject(json: JsonObject, key: string): JsonObject | undefined {
  const value = json[key] ?? undefined;
  if (value === undefined || isJsonObject(value)) return value;
  throw invalid(key, value, "an object is expected");
}

function parseDelegate(delegate: JsonObject): JsonObject & { readonly type: string } {
  for (const key of ["name", "ipam"])
    if (Object.hasOwn(delegate, key))
      throw new CniError(
        CNI_CODE.unsupportedField,
        `delegate.${key} is ${JSON.stringify(delegate[key])}, but flannel itself says it${key === "ipam" ? "; fields for it belong in `ipam` beside `delegate`" : ""}`,
      );
  const type = delegate["type"] ?? "bridge";
  if (typeof type !== "string") throw invalid("delegate.type", type, "the name of a plugin is expected");
  if (!/^[^/]+$/.test(type) || type.includes("\0") || type === "." || type === "..")
    throw invalid("delegate.type", type, "the name of a program in CNI_PATH is expected");
  if (type === "flannel") throw invalid("delegate.type", type, "flannel would call itself without end");
  return { ...delegate, type };
}

function parseValidAttachments(json: JsonObject): readonly Attachment[] | undefined {
  const key = VALID_ATTACHMENTS.find((name) => Object.hasOwn(json, name));
  if (key === undefined) return undefined;
  const list = json[key] ?? []; // an empty list, as Go may write it
  if (!Array.isArray(list)) throw invalid(key, list, "a list is expected");
  return list.map((entry: unknown) => {
    if (!isJsonObject(entry)) throw invalid(key, entry, "an object with containerID and ifname is expected");
    try {
      return parseAttachment({ containerID: entry["containerID"], ifname: entry["ifname"] });
    } catch (error) {
      throw invalid(key, entry, error instanceof Error ? error.message : String(error));
    }
  });
}

function invalid(key: string, value: unknown, reason: string): CniError {
  return new CniError(CNI_CODE.invalidConfig, `${key} is ${JSON.stringify(value) ?? "missing"}: ${reason}`);
}
