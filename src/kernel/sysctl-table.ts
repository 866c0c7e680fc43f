import { readFileSync, writeFileSync } from "node:fs";
import type { Plan, RowFailure, Table } from "../dataplane/table.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { SysctlRow, SysctlScope } from "./kernel.ts";
import { LINK_NOTIFICATIONS, LinkWatch } from "./link-watch.ts";
import { inNamespace } from "./namespace.ts";
import type { Netlink } from "./netlink.ts";
import { normalSysctl, sysctlRows } from "./rows.ts";

/** linux/rtnetlink.h: a link's forwarding, rp_filter and few others have changed; announced without who did it. */
const RTM_NEWNETCONF = 80;
/** Those of them that we may be asked for. */
const TOLD = /^net\/ipv4\/ip_forward$|^net\/ipv[46]\/conf\/[^/]+\/(forwarding|rp_filter)$/;

/** Values under `/proc/sys`. Of most the kernel tells nobody when one changes, only when the device they belong to does. */
export class SysctlTable implements Table<SysctlRow> {
  readonly name = "sysctl";
  readonly key = sysctlRows.key;
  readonly equal = sysctlRows.equal;
  readonly format = sysctlRows.format;
  readonly #netlink: Netlink;
  readonly #namespace: string | undefined;
  readonly #keys: readonly string[];
  readonly #links = new LinkWatch();
  #isWriting = false;

  constructor(netlink: Netlink, namespace: string | undefined, scope: SysctlScope) {
    this.#netlink = netlink;
    this.#namespace = namespace;
    this.#keys = scope.keys;
  }

  async list(options: Abortable): Promise<readonly SysctlRow[]> {
    await this.#look(options);
    const rows: SysctlRow[] = [];
    inNamespace(this.#namespace, () => {
      for (const key of this.#keys) {
        const value = readIfThere(pathOf(key));
        if (value !== undefined) rows.push({ key, value: normalSysctl(value) });
      }
    });
    return rows;
  }

  async apply(plan: Plan<SysctlRow>, options: Abortable): Promise<readonly RowFailure<SysctlRow>[]> {
    await this.#look(options);
    const failures: RowFailure<SysctlRow>[] = [];
    this.#unheard(() =>
      inNamespace(this.#namespace, () => {
        for (const row of plan.puts) {
          try {
            writeFileSync(pathOf(row.key), row.value);
          } catch (cause) {
            const reason = cause instanceof Error && "code" in cause ? String(cause.code) : "failed";
            failures.push({ row, error: new Error(`set ${this.format(row)}: ${reason}`, { cause }) });
          }
        }
      }),
    );
    return failures;
  }

  /** What is announced of our own changes is no news, and does not say that it is ours. */
  #unheard(write: () => void): void {
    const { monitor } = this.#netlink;
    monitor.catchUp(); // what others did until now is theirs
    this.#isWriting = true;
    try {
      write();
      monitor.catchUp();
    } finally {
      this.#isWriting = false;
    }
  }

  watch(onChange: () => void): Disposable {
    const isTold = this.#keys.some((key) => TOLD.test(key));
    return this.#netlink.monitor.subscribe({
      types: isTold ? [...LINK_NOTIFICATIONS, RTM_NEWNETCONF] : LINK_NOTIFICATIONS,
      onOverrun: onChange,
      onNotification: (notification) => {
        if (notification.type === RTM_NEWNETCONF) return this.#isWriting ? undefined : onChange();
        const change = this.#links.notice(notification);
        if (change !== undefined && change.before?.index !== change.after?.index) onChange();
      },
    });
  }

  async #look(options: Abortable): Promise<void> {
    for (const link of new Set(this.#keys.map(linkOf)))
      if (link !== undefined) this.#links.saw(link, await this.#netlink.links.state(link, options));
  }
}

/** `flannel.1` of `net/ipv4/neigh/flannel.1/mcast_solicit`; undefined if the value is nobody's own. */
function linkOf(key: string): string | undefined {
  const name = /^net\/(?:ipv4|ipv6)\/(?:conf|neigh)\/([^/]+)\//.exec(key)?.[1];
  return name === "all" || name === "default" ? undefined : name;
}

/** @throws {RangeError} rather than leave `/proc/sys` */
function pathOf(key: string): string {
  if (key.split("/").some((part) => part === "" || part === "." || part === ".."))
    throw new RangeError(`not a sysctl: ${key}`);
  return `/proc/sys/${key}`;
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}
