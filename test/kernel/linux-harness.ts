import { execFileSync } from "node:child_process";
import { setTimeout as delay, setImmediate as turn } from "node:timers/promises";
import { type Address, formatAddress } from "../../src/ip/address.ts";
import { formatPrefix } from "../../src/ip/prefix.ts";
import type { KernelFixture, KernelHarness } from "../../src/kernel/conformance/kernel-harness.ts";
import { type KernelOptions, openKernel } from "../../src/kernel/linux-kernel.ts";

/** Ample for a link to come up on a slow machine, ms. */
const PATIENCE = 20_000;

let lastNamespace = 0;

/** A network namespace of its own with a bridge called eth0, which has a port, so that it has carrier. */
export class Namespace implements Disposable {
  readonly name = `fk-${process.pid}-${++lastNamespace}`;

  constructor() {
    execFileSync("ip", ["netns", "add", this.name]);
    this.ip(
      "link set lo up",
      "link add eth0 type bridge",
      "link add port type veth peer name cable",
      "link set port master eth0 up",
      "link set cable up",
      "link set eth0 up",
      "addr add 192.0.2.1/24 dev eth0",
    );
    this.untilUp("eth0");
  }

  get path(): string {
    return `/run/netns/${this.name}`;
  }

  /** Runs `ip -n … COMMAND` for each. */
  ip(...commands: readonly string[]): void {
    execFileSync("ip", ["-n", this.name, "-batch", "-"], {
      input: commands.join("\n"),
      stdio: ["pipe", "ignore", "pipe"],
    });
  }

  /** What `ip -j -d …` says. */
  json(command: string): readonly Readonly<Record<string, unknown>>[] {
    const text = execFileSync("ip", ["-n", this.name, "-j", "-d", ...command.split(" ")], { encoding: "utf8" });
    return JSON.parse(text === "" ? "[]" : text);
  }

  /** Waits until a link has carrier here and, where it is a port of the bridge, is no longer kept out of it. */
  untilUp(link: string): void {
    const isUp = () =>
      this.run("ip", "link", "show", link).includes("LOWER_UP") &&
      !/ state (?!forwarding)/.test(this.run("bridge", "link", "show", "dev", link));
    for (const end = performance.now() + PATIENCE; !isUp(); )
      if (performance.now() > end) throw new Error(`${link} does not come up`);
  }

  /** What a program prints there. */
  run(...argv: readonly string[]): string {
    return execFileSync("ip", ["netns", "exec", this.name, ...argv], { encoding: "utf8" });
  }

  [Symbol.dispose](): void {
    execFileSync("ip", ["netns", "del", this.name]);
  }
}

export interface LinuxFixture extends KernelFixture {
  readonly namespace: Namespace;
}

export function openLinux(options: Omit<KernelOptions, "namespace"> = {}): LinuxFixture {
  const namespace = new Namespace();
  try {
    const kernel = openKernel({ ...options, namespace: namespace.path });
    const family = (address: Address) => (address.family === 6 ? "-6 " : "");
    return {
      namespace,
      kernel,
      others: {
        addLink: (name) => namespace.ip(`link add ${name} type bridge`),
        deleteLink: (name) => namespace.ip(`link del ${name}`),
        setLinkDown: (name) => namespace.ip(`link set ${name} down`),
        setMac: (name, mac) => namespace.ip(`link set ${name} address ${mac}`),
        setMtu: (name, mtu) => namespace.ip(`link set ${name} mtu ${mtu}`),
        addAddress: (link, address) => namespace.ip(`addr add ${formatPrefix(address)} dev ${link}`),
        deleteAddress: (link, address) => namespace.ip(`addr del ${formatPrefix(address)} dev ${link}`),
        addRoute({ destination, link, gateway, protocol }) {
          const via = gateway === undefined ? "" : ` via ${formatAddress(gateway)}`;
          namespace.ip(`route add ${formatPrefix(destination)}${via} dev ${link} proto ${protocol}`);
        },
        deleteRoute: (destination) =>
          namespace.run(
            "ip",
            ...family(destination.address).split(" ").slice(0, -1),
            "route",
            "del",
            formatPrefix(destination),
          ),
        addNeighbor: (link, destination, mac) =>
          namespace.ip(`neigh add ${formatAddress(destination)} lladdr ${mac} dev ${link}`),
        deleteNeighbor: (link, destination) => namespace.ip(`neigh del ${formatAddress(destination)} dev ${link}`),
        deleteFdb: (link, mac) => namespace.run("bridge", "fdb", "del", mac, "dev", link),
      },
      [Symbol.dispose]() {
        kernel[Symbol.dispose]();
        namespace[Symbol.dispose]();
      },
    };
  } catch (error) {
    namespace[Symbol.dispose]();
    throw error;
  }
}

/** Until what the kernel has told by then is heard of, also where this process had no time: timers may come before it. */
async function settle(): Promise<void> {
  await delay(100);
  for (let turns = 0; turns < 3; turns++) await turn();
}

export function linuxHarness(options: Omit<KernelOptions, "namespace"> = {}): KernelHarness {
  return { open: () => openLinux(options), settle };
}
