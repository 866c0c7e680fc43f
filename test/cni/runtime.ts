import { existsSync } from "node:fs";
import { join } from "node:path";
import { podNamespace } from "../../src/lab/address-plan.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { Namespace } from "../../src/lab/namespace.ts";
import { Place } from "../../src/lab/place.ts";
import { run } from "../../src/lab/program.ts";
import { manifestFile } from "../kube/manifest.ts";
import { type CniAnswer, callPlugin, plugin, REAL_PLUGINS } from "./plugin.ts";

/** A list of plugins, as in /etc/cni/net.d/10-flannel.conflist. */
export interface ConfigList {
  readonly cniVersion: string;
  readonly name: string;
  readonly plugins: readonly PluginConfig[];
}

interface PluginConfig {
  readonly type: string;
  readonly [key: string]: unknown;
}

export interface RuntimePod extends Place {
  readonly containerID: string;
}

/** The result of an ADD, as far as it is looked at. */
interface Result {
  readonly ips: readonly { readonly address: string }[];
}

/** What a container runtime does with plugins on one host: runs a list of them, each with the result of the one before. */
export class Runtime {
  readonly #lab: Lab;
  readonly #host: LabHost;
  readonly #list: ConfigList;
  readonly #flannel: string;
  readonly #results = new Map<string, object>();

  /** @param flannel the program that stands for the plugin of that name */
  constructor(lab: Lab, host: LabHost, list: ConfigList, flannel = plugin) {
    this.#lab = lab;
    this.#host = host;
    this.#list = list;
    this.#flannel = flannel;
  }

  /** Makes a namespace, and joins it. @throws with the plugin's error @param runtimeConfig for plugins with `capabilities` */
  async addPod(containerID: string, runtimeConfig: object = {}): Promise<RuntimePod> {
    const namespace = await this.makeNamespace(containerID);
    const result = await this.add(containerID, runtimeConfig);
    const [address = ""] = result.ips[0]?.address.split("/") ?? [];
    const place = new Place({ name: containerID, title: `${this.#host.name}/${containerID}`, address, namespace });
    return Object.assign(place, { containerID });
  }

  async makeNamespace(containerID: string): Promise<Namespace> {
    const namespace = this.#namespace(containerID);
    if (!existsSync(namespace.path)) await run(["ip", "netns", "add", namespace.name], { signal: this.#lab.signal });
    return namespace;
  }

  async add(containerID: string, runtimeConfig: object = {}): Promise<Result> {
    for (const config of this.#list.plugins) {
      const answer = await this.#call("ADD", containerID, { ...config, runtimeConfig });
      this.#results.set(containerID, answer.json ?? {});
    }
    return this.#results.get(containerID) as unknown as Result;
  }

  /** The other way round, and the namespace last. */
  async del(containerID: string): Promise<void> {
    for (const config of this.#list.plugins.toReversed()) await this.#call("DEL", containerID, config);
  }

  async check(containerID: string): Promise<void> {
    for (const config of this.#list.plugins) await this.#call("CHECK", containerID, config);
  }

  /** One command of flannel's alone, whatever comes of it. */
  async flannel(
    command: string,
    containerID: string,
    config: object = this.#list.plugins[0] ?? {},
  ): Promise<CniAnswer> {
    return await this.#plugin("flannel", command, containerID, config);
  }

  async #call(command: string, containerID: string, config: PluginConfig): Promise<CniAnswer> {
    const answer = await this.#plugin(config.type, command, containerID, config);
    if (answer.code !== 0) throw new Error(`${command} ${config.type}: ${answer.json?.msg ?? answer.stderr}`);
    return answer;
  }

  async #plugin(type: string, command: string, containerID: string, config: object): Promise<CniAnswer> {
    const { cniVersion, name } = this.#list;
    const prevResult = this.#results.get(containerID);
    const call = {
      command,
      containerID,
      netns: this.#namespace(containerID).path,
      path: REAL_PLUGINS,
      config: { cniVersion, name, ...config, ...(prevResult && { prevResult }) },
    };
    const program = type === "flannel" ? this.#flannel : join(REAL_PLUGINS, type);
    return await callPlugin(program, call, (argv, options) => this.#host.exec(argv, options));
  }

  #namespace(containerID: string): Namespace {
    const { signal } = this.#lab;
    return new Namespace(podNamespace(this.#lab.name, this.#host.name, containerID), { signal, ending: signal });
  }
}

/** The list of flannel's manifest for Kubernetes, with its files in the host's own directory. */
export function manifestConfigList(host: LabHost, delegate: object = {}): ConfigList {
  const manifest = JSON.parse(manifestFile("cni-conf.json")) as ConfigList;
  const [flannel, ...rest] = manifest.plugins;
  if (flannel === undefined) throw new Error("no plugin in the list");
  const own = {
    ...flannel,
    subnetFile: host.subnetFile,
    dataDir: join(host.directory, "cni"),
    delegate: { ...(flannel["delegate"] as object), ...delegate },
    ipam: { dataDir: join(host.directory, "ipam") },
  };
  return { ...manifest, plugins: [own, ...rest] };
}
