import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { formatAddress } from "../ip/address.ts";
import type { Abortable } from "../lib/abortable.ts";
import { systemClock } from "../lib/clock.ts";
import { silentLogger } from "../lib/logger.ts";
import { launcher } from "./launcher.ts";
import type { StoreKind } from "./record.ts";
import { Service } from "./service.ts";
import type { Switch } from "./switch.ts";

/** Where the lab's hosts keep who holds which subnet. */
export interface LabStore {
  readonly kind: StoreKind;
  /** For messages: `etcd v3 at http://192.168.77.254:2379`. */
  readonly title: string;
  /** What a daemon, or the `flannel` tool on a host, is told to find it. */
  readonly flags: readonly string[];
  /** The etcd process, or the flannel server; an embedded store is a file. */
  readonly server: Service | undefined;
  /** Of the SQLite file, also behind a flannel server. */
  readonly file: string | undefined;
  /** Of etcd or the flannel server, as the hosts see it. */
  readonly endpoints: readonly string[];
  start(): Promise<void>;
  /** Writes the network's config. */
  setConfig(config: unknown): Promise<void>;
  /** Runs etcdctl where etcd is, with the API of this store. @returns its output */
  etcdctl(...args: readonly string[]): Promise<string>;
}

/** One SQLite file for all hosts, which share this machine's files. */
export function embeddedStore(directory: string, { signal }: Abortable): LabStore {
  const file = join(directory, "store", "flannel.db");
  return {
    kind: "embedded",
    title: `embedded store ${file}`,
    flags: [`--embedded-store=${file}`],
    server: undefined,
    file,
    endpoints: [],
    async start() {
      mkdirSync(dirname(file), { recursive: true });
    },
    async setConfig(config) {
      const { openSqliteRegistry } = await import("../store/sqlite/sqlite-registry.ts");
      const options = { clock: systemClock, logger: silentLogger };
      await using registry = await openSqliteRegistry(file, options, { signal });
      await registry.setConfig("", JSON.stringify(config), { signal });
    },
    etcdctl() {
      return Promise.reject(new Error("an embedded store has no etcdctl"));
    },
  };
}

/** A flannel server in the switch's namespace, with an embedded store: no host sees the file. */
export function serverStore(directory: string, network: Switch, { signal }: Abortable): LabStore {
  const embedded = embeddedStore(directory, { signal });
  const endpoint = `${formatAddress(network.address)}:8888`;
  const server = new Service({
    name: "server",
    argv: [launcher("flanneld"), ...embedded.flags, "--listen=:8888", `--state-dir=${join(directory, "server-state")}`],
    namespace: network.namespace,
    signal,
    directory,
  });
  return {
    ...embedded,
    kind: "server",
    title: `flannel server at ${endpoint}`,
    flags: [`--remote=${endpoint}`],
    server,
    endpoints: [endpoint],
    async start() {
      await embedded.start();
      await server.start();
      await server.ready();
    },
  };
}

/** Flags of etcdctl by its API. Left alone it gives up after 4 or 5 s, which an etcd may take whose disk is busy. */
export const ETCDCTL_PATIENCE = {
  "2": ["--timeout=60s", "--total-timeout=60s"],
  "3": ["--dial-timeout=60s", "--command-timeout=60s"],
} as const;

/** One etcd in the switch's namespace, reachable from all hosts over the underlay. */
export function etcdStore(
  kind: "etcd2" | "etcd3",
  directory: string,
  network: Switch,
  { signal }: Abortable,
): LabStore {
  const endpoint = `http://${formatAddress(network.address)}:2379`;
  const peer = "http://127.0.0.1:2380";
  const server = new Service({
    name: "etcd",
    argv: [
      "etcd",
      "--name=lab",
      `--data-dir=${join(directory, "store")}`,
      "--listen-client-urls=http://0.0.0.0:2379",
      `--advertise-client-urls=${endpoint}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=lab=${peer}`,
    ],
    env: { ETCD_ENABLE_V2: "true" }, // as a flag, it would end an etcd from 3.6 on
    namespace: network.namespace,
    signal,
    directory,
  });
  const etcdctl = (...args: readonly string[]) => {
    const env = { ...process.env, ETCDCTL_API: kind === "etcd2" ? "2" : "3" };
    const patience = ETCDCTL_PATIENCE[kind === "etcd2" ? "2" : "3"];
    return network.namespace.run(["etcdctl", "--endpoints=http://127.0.0.1:2379", ...patience, ...args], { env });
  };
  return {
    kind,
    title: `etcd ${kind === "etcd2" ? "v2" : "v3"} at ${endpoint}`,
    flags: [`--etcd-endpoints=${endpoint}`],
    server,
    file: undefined,
    endpoints: [endpoint],
    async start() {
      await server.start();
      await server.ready();
    },
    async setConfig(config) {
      await etcdctl(kind === "etcd2" ? "set" : "put", "/coreos.com/network/config", JSON.stringify(config));
    },
    etcdctl,
  };
}
