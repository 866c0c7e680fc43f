import { isAlive } from "../kernel/process-id.ts";
import { isOrphan, type LabRecord } from "./record.ts";
import { renderTable, type TextOptions } from "./table.ts";

export function describeHosts(lab: LabRecord, options: TextOptions): string {
  const rows = lab.hosts.map((host) => [
    host.name,
    host.address,
    host.daemon === undefined ? "-" : isAlive(host.daemon) ? `pid ${host.daemon.pid}` : "ended",
    host.pods.map(({ name, address, ipv6 }) => [name, address, ipv6 ?? []].flat().join(" ")).join(", "),
  ]);
  return renderTable(["host", "address", "flanneld", "pods"], rows, options);
}

export function describeLabs(labs: readonly LabRecord[], options: TextOptions): string {
  if (labs.length === 0) return "no lab is up";
  const rows = labs.map((lab) => [
    lab.name,
    String(lab.hosts.length),
    lab.backend,
    lab.store,
    lab.network,
    isOrphan(lab)
      ? "its owner died; `flannel lab down` removes it"
      : lab.owner === undefined
        ? "up"
        : `up with pid ${lab.owner.pid}`,
  ]);
  return renderTable(["lab", "hosts", "backend", "store", "network", "state"], rows, options);
}
