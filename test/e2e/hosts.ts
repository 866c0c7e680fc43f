import { firstAddress, formatPrefix, type Prefix } from "../../src/ip/prefix.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import type { PingResult } from "../../src/lab/ping.ts";
import type { Place } from "../../src/lab/place.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { formatLeaseKey } from "../../src/lease/lease-codec.ts";
import type { Milliseconds } from "../../src/lib/clock.ts";
import { flannel } from "./flannel.ts";

/** A deadline of the specification, as tests wait for it: three times the figure. */
export function ceiling(deadline: Milliseconds): Milliseconds {
  return deadline < 5_000 ? 3 * deadline : deadline;
}

/** For what has no deadline of the specification: ample where the machine stands still for seconds. */
export const PATIENCE: Milliseconds = 20_000;

/** The first hosts of a lab with their first pods. @throws if there are fewer */
export function hostsOf(lab: Lab, count: number): readonly (LabHost & { readonly pod: Place })[] {
  return Array.from({ length: count }, (_, index) => withPod(lab.hosts[index]));
}

export function withPod(host: LabHost | undefined): LabHost & { readonly pod: Place } {
  const pod = host?.pods[0];
  if (host === undefined || pod === undefined) throw new Error(`${host?.name ?? "the host"} has no pod`);
  return Object.assign(host, { pod });
}

/** The host's subnet as the store names it: `10.5.3.0/24`. */
export function subnetOf(host: LabHost): string {
  return formatPrefix(subnetPrefix(host));
}

export function subnetPrefix(host: LabHost): Prefix {
  const { subnet } = host.subnetEnv();
  return { address: firstAddress(subnet), length: subnet.length };
}

/** Removes the host's lease as an administrator does. */
export async function deleteLease(lab: Lab, host: LabHost): Promise<void> {
  const key = `/coreos.com/network/subnets/${formatLeaseKey({ subnet: subnetPrefix(host) })}`;
  if (lab.store.kind === "etcd2") await lab.store.etcdctl("rm", key);
  else if (lab.store.kind === "etcd3") await lab.store.etcdctl("del", key);
  else await flannel(lab, "lease", "revoke", subnetOf(host));
}

/** Warnings and errors that a daemon logged. */
export function complaints(host: LabHost): readonly string[] {
  return host.daemon
    .log()
    .split("\n")
    .filter((line) => /^[WEF]\d{4} /.test(line));
}

/** Pairs of pods of which one gets no answer from the other, in more time than a busy machine takes to give one. */
export async function unanswered(lab: Lab, options: { readonly size?: number } = {}): Promise<readonly PingResult[]> {
  return (await lab.ping({ ...options, timeout: 5_000 })).filter(({ time }) => time === undefined);
}

/** Waits until one ping from a place is answered (or, with `answered` false, until none is). */
export async function untilPing(
  from: Place,
  to: Pick<Place, "title" | "address">,
  within: Milliseconds = PATIENCE,
  answered = true,
): Promise<void> {
  await waitUntil(
    async (signal) =>
      ((await from.exec(["ping", "-n", "-c1", "-W0.2", to.address], { signal })).code === 0) === answered,
    {
      signal: new AbortController().signal,
      within,
      what: `${from.title} ${answered ? "reaches" : "no longer reaches"} ${to.title}`,
    },
  );
}
