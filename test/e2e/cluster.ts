import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatAddress } from "../../src/ip/address.ts";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { launcher } from "../../src/lab/launcher.ts";
import { labDirectory } from "../../src/lab/record.ts";
import type { Abortable } from "../../src/lib/abortable.ts";
import { FakeApiProcess } from "../kube/fake-api-process.ts";
import { kubeconfigText } from "../kube/kubeconfig.ts";
import { RIGHTS, TOKEN } from "../kube/manager.ts";
import { makeCertificates } from "../support/certificates.ts";

export interface ClusterOptions extends Abortable {
  readonly hosts: number;
  readonly backend: string;
  /** 10.5.0.0/16 */
  readonly network?: string;
  /** More flags for every daemon. */
  readonly flags?: readonly string[];
}

/** Hosts that are nodes of a cluster: a lab whose store is the fake API server, in the switch's namespace. */
export class Cluster implements AsyncDisposable {
  readonly lab: Lab;
  readonly api: FakeApiProcess;
  readonly kubeconfig: string;
  readonly netConfig: string;
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
    const kubeconfig = join(directory, "kubeconfig");
    writeFileSync(kubeconfig, kubeconfigText(api.url, { ca, token: TOKEN }));
    const netConfig = join(directory, "net-conf.json");
    writeFileSync(netConfig, JSON.stringify(config));
    return new Cluster(lab, api, { kubeconfig, netConfig, flags });
  }

  private constructor(
    lab: Lab,
    api: FakeApiProcess,
    files: { readonly kubeconfig: string; readonly netConfig: string; readonly flags: readonly string[] },
  ) {
    this.lab = lab;
    this.api = api;
    this.kubeconfig = files.kubeconfig;
    this.netConfig = files.netConfig;
    this.#flags = files.flags;
  }

  /** The hosts' default gateway, where the API server is. */
  get gateway(): string {
    return formatAddress(this.lab.switch.address);
  }

  /** Makes the host a node, starts its daemon and gives it a pod. */
  async join(host: LabHost, podCIDRs: readonly string[] = [`10.5.${host.name.slice(1)}.0/24`]): Promise<void> {
    await this.api.call("addNode", host.name, podCIDRs);
    this.setUp(host);
    await host.startDaemon();
    await host.addPod();
  }

  /** Makes the host's daemon one of the cluster's. */
  setUp(host: LabHost, variables: Readonly<Record<string, string>> = { NODE_NAME: host.name }): void {
    const settings = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
    host.daemon.argv = [
      "env",
      ...settings,
      launcher("flanneld"),
      "--kube-subnet-mgr",
      `--kubeconfig-file=${this.kubeconfig}`,
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
