import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatAddress } from "../../src/ip/address.ts";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { launcher } from "../../src/lab/launcher.ts";
import { labDirectory } from "../../src/lab/record.ts";
import type { Abortable } from "../../src/lib/abortable.ts";
import { SERVICE_ACCOUNT } from "../../src/store/kube/pod-access.ts";
import { manifestConfigList, Runtime, type RuntimePod } from "../cni/runtime.ts";
import { makeCertificates } from "../support/certificates.ts";
import { FakeApiProcess } from "./fake-api-process.ts";
import { kubeconfigText } from "./kubeconfig.ts";
import { RIGHTS, TOKEN } from "./manager.ts";

export interface ClusterOptions extends Abortable {
  readonly hosts: number;
  readonly backend: string;
  /** 10.5.0.0/16 */
  readonly network?: string;
  /** More flags for every daemon. */
  readonly flags?: readonly string[];
}

/** A host that is a node, with its first pod, made by the CNI plugin as a kubelet has it made. */
export type ClusterNode = LabHost & { readonly pod: RuntimePod };

/** Hosts that are nodes of a cluster: a lab whose store is the fake API server, in the switch's namespace. */
export class Cluster implements AsyncDisposable {
  readonly lab: Lab;
  readonly api: FakeApiProcess;
  /** Those that joined, in that order. */
  readonly nodes: ClusterNode[] = [];
  readonly netConfig: string;
  readonly #kubeconfig: string;
  /** What a kubelet mounts into every pod of flannel's: `token` and `ca.crt`. */
  readonly #serviceAccount: string;
  readonly #flags: readonly string[];

  /** Every host is a node with a podCIDR, 10.5.<its number>.0/24; when it resolves, each is ready and has a pod. */
  static async up({ hosts, backend, network = "10.5.0.0/16", flags = [], signal }: ClusterOptions): Promise<Cluster> {
    const lab = await Lab.up({ hosts, backend, daemons: false, config: null, signal });
    try {
      const cluster = await Cluster.#over(lab, { Network: network, Backend: { Type: backend } }, flags);
      for (const host of lab.hosts) await cluster.join(host);
      return cluster;
    } catch (error) {
      await lab.down();
      throw error;
    }
  }

  static async #over(lab: Lab, config: object, flags: readonly string[]): Promise<Cluster> {
    const directory = labDirectory(lab.name);
    const host = formatAddress(lab.switch.address);
    const { ca, server } = makeCertificates(directory, "kube", [host]);
    const tls = { cert: readFileSync(server.cert, "utf8"), key: readFileSync(server.key, "utf8") };
    const api = await FakeApiProcess.start(lab.switch.namespace, { host, port: 6443, tls, bookmarkEvery: 500 });
    await api.call("users.addServiceAccount", TOKEN, "kube-flannel", "flannel");
    await api.call("grant", "kube-flannel", "flannel", RIGHTS);
    const path = (name: string) => join(directory, name);
    writeFileSync(path("kubeconfig"), kubeconfigText(api.url, { ca, token: TOKEN }));
    mkdirSync(path("serviceaccount"));
    copyFileSync(ca, path("serviceaccount/ca.crt"));
    writeFileSync(path("serviceaccount/token"), TOKEN);
    writeFileSync(path("net-conf.json"), JSON.stringify(config));
    return new Cluster(lab, api, directory, flags);
  }

  private constructor(lab: Lab, api: FakeApiProcess, directory: string, flags: readonly string[]) {
    this.lab = lab;
    this.api = api;
    this.netConfig = join(directory, "net-conf.json");
    this.#kubeconfig = join(directory, "kubeconfig");
    this.#serviceAccount = join(directory, "serviceaccount");
    this.#flags = flags;
  }

  /** The hosts' default gateway, where the API server is. */
  get gateway(): string {
    return formatAddress(this.lab.switch.address);
  }

  /** Makes the host a node, starts its daemon and gives it a pod. */
  async join(host: LabHost): Promise<ClusterNode> {
    await this.api.call("addNode", host.name, [`10.5.${host.name.slice(1)}.0/24`]);
    this.setUp(host);
    await host.startDaemon();
    return await this.addPod(host);
  }

  /** The first pod of a host whose daemon is ready. */
  async addPod(host: LabHost): Promise<ClusterNode> {
    const node = Object.assign(host, { pod: await new Runtime(this.lab, host, manifestConfigList(host)).addPod("p1") });
    this.nodes.push(node);
    return node;
  }

  /** Makes the host's daemon one of the cluster's, by a kubeconfig. */
  setUp(host: LabHost): void {
    const access = `--kubeconfig-file=${this.#kubeconfig}`;
    host.daemon.argv = ["env", `NODE_NAME=${host.name}`, ...this.#flanneld(host), access];
  }

  /** Makes the host's daemon a pod of the cluster, as far as it can see: the service account's files and these variables. */
  setUpPod(host: LabHost, variables: Readonly<Record<string, string>>): void {
    const { hostname, port } = new URL(this.api.url);
    const all = { KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port, ...variables };
    const settings = Object.entries(all).map(([name, value]) => `${name}=${value}`);
    const mount = `mount -t tmpfs tmpfs /var && mkdir -p ${SERVICE_ACCOUNT} && mount --bind ${this.#serviceAccount} ${SERVICE_ACCOUNT}`;
    host.daemon.argv = [
      "unshare",
      "-m",
      "sh",
      "-c",
      `${mount} && exec env "$@"`,
      "sh",
      ...settings,
      ...this.#flanneld(host),
    ];
  }

  /** A kubelet renews the service account's token in time; the one before runs out. */
  async renewToken(): Promise<void> {
    const file = join(this.#serviceAccount, "token");
    const before = readFileSync(file, "utf8");
    const token = `${before}-renewed`;
    await this.api.call("users.addServiceAccount", token, "kube-flannel", "flannel");
    writeFileSync(file, token);
    await this.api.call("users.expireToken", before);
  }

  #flanneld(host: LabHost): readonly string[] {
    return [
      launcher("flanneld"),
      "--kube-subnet-mgr",
      `--net-config-path=${this.netConfig}`,
      `--subnet-file=${host.subnetFile}`,
      `--state-dir=${host.stateDirectory}`,
      ...this.#flags,
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.api.stop();
    await this.lab[Symbol.asyncDispose]();
  }
}
