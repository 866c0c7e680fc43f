import { InvalidConfigError } from "../lib/errors.ts";
import type { TlsFiles } from "../lib/tls-source.ts";
import type { AuthorizationOptions } from "../remote/authorization.ts";
import { type ListenAddress, parseListenAddress } from "../remote/listen-address.ts";
import { parseRemoteEndpoints, parseRemoteFiles, type RemoteOptions } from "../remote/remote-options.ts";
import { type EtcdOptions, parseEtcdOptions } from "../store/etcd/options.ts";
import { type KubeOptions, parseKubeOptions } from "../store/kube/options.ts";
import type { FLANNELD_FLAGS } from "./flanneld-flag-table.ts";
import type { FlagValues } from "./go-flags.ts";

type Values = FlagValues<typeof FLANNELD_FLAGS>;

export type Environment = Readonly<Record<string, string | undefined>>;

export type StoreOptions = RegistryOptions | RemoteStoreOptions;

/** The nodes of a Kubernetes cluster, which are no store of ours. */
export interface KubeStoreOptions {
  readonly kind: "kubernetes";
  readonly kube: KubeOptions;
}

/** A store that this host talks to itself. */
export type RegistryOptions = EmbeddedStoreOptions | EtcdStoreOptions;

export interface EmbeddedStoreOptions {
  readonly kind: "embedded";
  readonly file: string;
}

/** Flannel servers, and the store behind them. */
export interface RemoteStoreOptions {
  readonly kind: "remote";
  readonly remote: RemoteOptions;
}

/** What `--listen` asks for. */
export interface ServerOptions {
  readonly address: ListenAddress;
  readonly files: TlsFiles;
  readonly authorization: AuthorizationOptions;
  /** What keys in the store begin with, for messages. */
  readonly keyPrefix: string;
}

export interface EtcdStoreOptions {
  readonly kind: "etcd";
  /** Which of etcd's interfaces holds the keys; undefined: to be found out. */
  readonly api: 2 | 3 | undefined;
  readonly etcd: EtcdOptions;
}

/** @throws {InvalidConfigError} naming the flag */
export function storeOptions(values: Values, env: Environment): StoreOptions | KubeStoreOptions {
  if (isKube(values)) return { kind: "kubernetes", kube: kubeOptions(values, env) };
  if (values.remote !== "") {
    const files = remoteFiles(values);
    return { kind: "remote", remote: { endpoints: parseRemoteEndpoints(values.remote, files), files } };
  }
  if (values["embedded-store"] !== "") return { kind: "embedded", file: values["embedded-store"] };
  const api = values["etcd-api"];
  return { kind: "etcd", api: api === "auto" ? undefined : api === "2" ? 2 : 3, etcd: etcdOptions(values) };
}

/** Whether hosts are the nodes of a Kubernetes cluster. */
export function isKube(values: Values): boolean {
  return values["kube-subnet-mgr"] && values.remote === "";
}

function kubeOptions(values: Values, env: Environment): KubeOptions {
  const kube = parseKubeOptions({
    apiUrl: values["kube-api-url"],
    kubeconfigFile: values["kubeconfig-file"],
    annotationPrefix: values["kube-annotation-prefix"],
    netConfigPath: values["net-config-path"],
    setNetworkUnavailable: values["set-node-network-unavailable"],
    env,
  });
  if (kube.node === undefined && values.listen === "")
    throw new InvalidConfigError("NODE_NAME", "must be set, or POD_NAME and POD_NAMESPACE, so that we know our node");
  return kube;
}

/** @throws {InvalidConfigError} naming the flag */
export function serverOptions(values: Values): ServerOptions {
  const admins = values["remote-admins"].split(",").flatMap((name) => name.trim() || []);
  const files = remoteFiles(values);
  if (files.ca !== undefined && files.certificate === undefined)
    throw new InvalidConfigError("--remote-certfile", "is missing: client certificates are asked for over TLS only");
  return {
    address: parseListenAddress(values.listen),
    files,
    authorization: {
      byCommonName: values["remote-authz"] === "cn",
      admins: values["remote-admins"] === "" ? undefined : admins,
    },
    keyPrefix: etcdOptions(values).prefix,
  };
}

function remoteFiles(values: Values): TlsFiles {
  return parseRemoteFiles({
    keyFile: values["remote-keyfile"],
    certFile: values["remote-certfile"],
    caFile: values["remote-cafile"],
    crlFile: values["remote-crlfile"],
  });
}

/** @throws {InvalidConfigError} naming the flag */
export function etcdOptions(values: Values): EtcdOptions {
  return parseEtcdOptions({
    endpoints: values["etcd-endpoints"],
    prefix: values["etcd-prefix"],
    keyFile: values["etcd-keyfile"],
    certFile: values["etcd-certfile"],
    caFile: values["etcd-cafile"],
    username: values["etcd-username"],
    password: values["etcd-password"],
  });
}
