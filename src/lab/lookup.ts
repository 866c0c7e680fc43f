import { join } from "node:path";
import { InvalidConfigError } from "../lib/errors.ts";
import { type LabName, parseLabName } from "./address-plan.ts";
import { Namespace } from "./namespace.ts";
import type { Endpoint } from "./ping.ts";
import { type HostRecord, type LabRecord, labDirectory, listRecords, type PodRecord } from "./record.ts";

/** The lab that a command means: the named one, or the only one, first among those left running. @throws {InvalidConfigError} */
export function findLab(name: string | undefined, labs: readonly LabRecord[] = listRecords()): LabRecord {
  if (name !== undefined) {
    const wanted = parseLabName(name);
    const found = labs.find((lab) => lab.name === wanted);
    if (found === undefined) throw new InvalidConfigError("name", `there is no lab ${wanted}; ${describe(labs)}`);
    return found;
  }
  const leftRunning = labs.filter(({ owner }) => owner === undefined);
  const [only, ...others] = leftRunning.length > 0 ? leftRunning : labs;
  if (only === undefined || others.length > 0)
    throw new InvalidConfigError("name", only === undefined ? describe(labs) : `say which one; ${describe(labs)}`);
  return only;
}

/**
 * What `lab down` without a name removes. A lab that a living process holds goes only by its name.
 * @throws {InvalidConfigError} if several were left running and not all are meant
 */
export function labsToRemove(all: boolean, labs: readonly LabRecord[] = listRecords()): readonly LabName[] {
  const leftRunning = labs.filter(({ owner }) => owner === undefined);
  if (all || leftRunning.length === 0) return leftRunning.map(({ name }) => name);
  return [findLab(undefined, leftRunning).name];
}

function describe(labs: readonly LabRecord[]): string {
  if (labs.length === 0) return "no lab is up; `flannel lab up` makes one";
  return `there ${labs.length === 1 ? "is" : "are"} ${labs.map(({ name }) => name).join(", ")}`;
}

/** A host `h1`, or a pod on it `h1/p1`. @throws {InvalidConfigError} naming those that there are */
export function findPlace(lab: LabRecord, title: string): HostRecord | PodRecord {
  const [hostName, podName] = title.split("/");
  const host = lab.hosts.find(({ name }) => name === hostName);
  const place = podName === undefined ? host : host?.pods.find(({ name }) => name === podName);
  if (place !== undefined) return place;
  const places = lab.hosts.flatMap((host) => [host.name, ...host.pods.map((pod) => `${host.name}/${pod.name}`)]);
  throw new InvalidConfigError("host", `there is no ${title} in lab ${lab.name}, but ${places.join(", ")}`);
}

/** The log of a host's daemon, of `etcd` or of the `server`. @throws {InvalidConfigError} */
export function findLog(lab: LabRecord, title: string): string {
  if (title === "etcd" && lab.store.startsWith("etcd")) return join(labDirectory(lab.name), "etcd.log");
  if (title === "server" && lab.store === "server") return join(labDirectory(lab.name), "server.log");
  const place = findPlace(lab, title);
  if ("log" in place) return place.log;
  throw new InvalidConfigError("host", `${title} is a pod; logs are those of hosts`);
}

/** Every pod of a lab that another process brought up. */
export function endpointsOf(lab: LabRecord, signal: AbortSignal): readonly Endpoint[] {
  const life = { signal, ending: signal };
  return lab.hosts.flatMap((host) =>
    host.pods.map((pod) => ({
      title: `${host.name}/${pod.name}`,
      address: pod.address,
      ipv6: pod.ipv6,
      namespace: new Namespace(pod.namespace, life),
    })),
  );
}
