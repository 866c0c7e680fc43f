import { createInterface } from "node:readline";
import type { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import type { Place } from "../../src/lab/place.ts";
import { ended } from "../../src/lab/program.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import type { Abortable } from "../../src/lib/abortable.ts";

/** Switches features of a link, as `ethtool -K` names them. */
export async function ethtool(
  place: Pick<Place, "run">,
  link: string,
  state: "on" | "off",
  ...features: readonly string[]
) {
  await place.run(["ethtool", "-K", link, ...features.flatMap((feature) => [feature, state])]);
}

/** Whether what the hosts send to each other really is one datagram per packet, none longer than the link's MTU. */
export async function setRealDatagrams(hosts: readonly LabHost[], isReal: boolean): Promise<void> {
  for (const host of hosts) await ethtool(host, "eth0", isReal ? "off" : "on", "tx-udp-segmentation");
}

/** Offloads of the pods' own links: of the pod's end, of the bridge and of its port. */
export async function setPodOffloads(hosts: readonly LabHost[], state: "on" | "off"): Promise<void> {
  for (const host of hosts) {
    for (const pod of host.pods) await ethtool(pod, "eth0", state, "gso", "tso", "gro");
    for (const link of ["p1", "cni0"]) await ethtool(host, link, state, "gso", "gro");
  }
}

/** Has the switch lose so many of 1000 datagrams between hosts. @returns how many it has lost when it is over */
export async function loseDatagrams(
  lab: Lab,
  perMille: number,
): Promise<AsyncDisposable & { lost(): Promise<number> }> {
  const { namespace } = lab.switch;
  const rules = `table bridge lossy {
    chain forward {
      type filter hook forward priority 0
      udp dport 8285 numgen random mod 1000 < ${perMille} counter drop
    }
  }`;
  await namespace.run(["nft", "-f", "-"], { input: rules });
  return {
    async lost() {
      const text = await namespace.run(["nft", "list", "table", "bridge", "lossy"]);
      return Number(/counter packets (\d+)/.exec(text)?.[1]);
    },
    async [Symbol.asyncDispose]() {
      await namespace.run(["nft", "delete", "table", "bridge", "lossy"]);
    },
  };
}

/** What a rough cable did to how many frames. */
export interface Roughness {
  readonly frames: number;
  readonly late: number;
  readonly twice: number;
  readonly wrong: number;
}

/** Replaces a host's cable by a rough one: see rough-cable-program.ts. Not undone. @returns how it was, once it is asked to stop */
export async function roughCable(lab: Lab, host: LabHost, { signal }: Abortable): Promise<() => Promise<Roughness>> {
  const { namespace } = lab.switch;
  await namespace.ip([
    `link set ${host.name} nomaster`,
    `link add rough type veth peer name trunk`,
    `link set rough up mtu ${lab.switch.mtu}`,
    `link set trunk up mtu ${lab.switch.mtu} master br0`,
  ]);
  // Frames as they would be on a cable: no larger than the MTU, with checksums.
  await ethtool(host, "eth0", "off", "tx", "gso", "tso", "tx-udp-segmentation");
  await ethtool(namespace, "trunk", "off", "tx", "gso", "tso", "tx-udp-segmentation");
  const program = new URL("./rough-cable-program.ts", import.meta.url).pathname;
  const child = namespace.spawn([process.execPath, program, host.name, "rough"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const end = ended(child);
  const lines: string[] = [];
  if (child.stdout !== null) createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
  await waitUntil(() => lines.includes("ready"), { signal, within: 30_000, what: "the rough cable is ready" });
  return async () => {
    child.kill("SIGTERM");
    await end;
    return JSON.parse(lines.at(-1) ?? "") as Roughness;
  };
}
