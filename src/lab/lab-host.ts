import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { addToAddress, formatAddress } from "../ip/address.ts";
import { formatPrefix, type Prefix } from "../ip/prefix.ts";
import { parseSubnetEnv, type SubnetEnv } from "../lease/subnet-env.ts";
import type { Milliseconds } from "../lib/clock.ts";
import { BRIDGE_MAC, hostNamespace, type LabName, podNamespace } from "./address-plan.ts";
import { ipBatch, type LabLife, Namespace } from "./namespace.ts";
import { Place } from "./place.ts";
import type { HostRecord } from "./record.ts";
import { Service } from "./service.ts";

/** A container: a namespace behind the host's bridge. */
export type LabPod = Place;

export interface LabHostOptions {
  readonly lab: LabName;
  readonly name: string;
  readonly address: string;
  /** Of the lab; the host has one of its own in it. */
  readonly directory: string;
  /** The daemon's command line but for the files, which are the host's own. */
  readonly daemon: readonly string[];
  readonly life: LabLife;
  /** Called when the lab's record must be written anew. */
  readonly onChange: () => void;
}

/** The bridge that a container runtime makes, and that pods hang on. */
export const POD_BRIDGE = "cni0";

/** One host of a lab: a namespace whose eth0 is on the lab's switch. */
export class LabHost extends Place {
  readonly directory: string;
  readonly daemon: Service;
  readonly subnetFile: string;
  readonly stateDirectory: string;
  readonly #options: LabHostOptions;
  readonly #pods: LabPod[] = [];
  #lastPod = 0;

  constructor(options: LabHostOptions) {
    const namespace = new Namespace(hostNamespace(options.lab, options.name), options.life);
    super({ name: options.name, title: options.name, address: options.address, namespace });
    this.#options = options;
    this.directory = join(options.directory, options.name);
    mkdirSync(this.directory, { recursive: true });
    this.subnetFile = join(this.directory, "subnet.env");
    this.stateDirectory = join(this.directory, "state");
    this.daemon = new Service({
      name: "flanneld",
      argv: [...options.daemon, `--subnet-file=${this.subnetFile}`, `--state-dir=${this.stateDirectory}`],
      namespace,
      signal: options.life.signal,
      directory: this.directory,
    });
  }

  get pods(): readonly LabPod[] {
    return this.#pods;
  }

  /** What the daemon wrote. @throws if it has not yet */
  subnetEnv(): SubnetEnv {
    return parseSubnetEnv(readFileSync(this.subnetFile, "utf8"));
  }

  /** Starts the daemon and waits until it is ready. @returns how long that took */
  async startDaemon(within?: Milliseconds): Promise<Milliseconds> {
    await this.daemon.start();
    this.#options.onChange();
    return await this.daemon.ready(within === undefined ? {} : { within });
  }

  /** Makes a pod, and with the first one the bridge, as the file that flannel wrote says. */
  async addPod(env: SubnetEnv = this.subnetEnv()): Promise<LabPod> {
    const { lab, life } = this.#options;
    const number = ++this.#lastPod;
    const name = `p${number}`;
    const ranges = [env.subnet, ...(env.ipv6 === undefined ? [] : [env.ipv6.subnet])];
    const ends = ranges.map((gateway) => ({ gateway, address: addToAddress(gateway.address, BigInt(number)) }));
    const namespace = new Namespace(podNamespace(lab, this.name, name), life);
    await ipBatch([`netns add ${namespace.name}`], life);
    const bridge = [
      `link add ${POD_BRIDGE} address ${BRIDGE_MAC} mtu ${env.mtu} type bridge`,
      ...ranges.map((subnet) => addAddress(subnet, POD_BRIDGE)),
      `link set ${POD_BRIDGE} up`,
    ];
    await this.namespace.ip([
      ...(number === 1 ? bridge : []),
      `link add ${name} mtu ${env.mtu} type veth peer name eth0 mtu ${env.mtu} netns ${namespace.name}`,
      `link set ${name} master ${POD_BRIDGE} up`,
    ]);
    await namespace.ip([
      "link set lo up",
      ...ends.map(({ gateway, address }) => addAddress({ address, length: gateway.length }, "eth0")),
      "link set eth0 up",
      ...ends.map(({ gateway }) => `route add default via ${formatAddress(gateway.address)}`),
    ]);
    const [address = "", ipv6] = ends.map((end) => formatAddress(end.address));
    const pod = new Place({ name, title: `${this.name}/${name}`, address, ipv6, namespace });
    this.#pods.push(pod);
    this.#options.onChange();
    return pod;
  }

  /** For `lab.json`. */
  get record(): HostRecord {
    const daemon = this.daemon.id;
    return {
      name: this.name,
      address: this.address,
      namespace: this.namespace.name,
      log: this.daemon.logFile,
      ...(daemon === undefined ? {} : { daemon }),
      pods: this.#pods.map(({ name, address, ipv6, namespace }) => ({
        name,
        address,
        ...(ipv6 !== undefined && { ipv6 }),
        namespace: namespace.name,
      })),
    };
  }
}

/** One of IPv6 without asking first whether it is another's, which takes a second. */
function addAddress(address: Prefix, link: string): string {
  return `addr add ${formatPrefix(address)} dev ${link}${address.address.family === 6 ? " nodad" : ""}`;
}
