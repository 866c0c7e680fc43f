import type { Table } from "../../dataplane/table.ts";
import { equalAddress } from "../../ip/address.ts";
import { EADDRINUSE, EADDRNOTAVAIL, EBUSY } from "../errno.ts";
import type { AttachedTun, TunRow, TunScope, UdpSocketRow, UdpSocketScope } from "../kernel.ts";
import { tunRows, udpSocketRows } from "../rows.ts";
import { toTunRow } from "./as-rows.ts";
import { Refusal } from "./refusal.ts";
import type { FakeStack } from "./stack.ts";
import type { MakeTable } from "./table.ts";

/** TUN devices and UDP sockets of a kernel in memory: what is held by a descriptor. */
export class FakeDescriptors {
  readonly #stack: FakeStack;
  readonly #table: MakeTable;
  #lastDescriptor = 99;

  constructor(stack: FakeStack, table: MakeTable) {
    this.#stack = stack;
    this.#table = table;
  }

  tunTable({ name, offload, inherited, onOpened }: TunScope): Table<TunRow> {
    let fd: number | undefined;
    let offered: number | undefined;
    const isHeld = () => fd !== undefined && this.attachedTun(fd)?.name === name;
    this.#stack.claims.set(name, isHeld);
    const list = () =>
      isHeld() ? [...this.#stack.links.values()].filter((link) => link.name === name).map(toTunRow) : [];
    const offloads = { header: offload, checksum: offload, tcp: offload, udp: offload };
    const put = ({ mtu }: TunRow) => {
      if (!isHeld()) {
        const left = this.attachedTun(offered ?? -1);
        if (offered !== undefined && (left?.name !== name || left.hasHeader !== offload)) {
          this.closeDescriptor(offered);
          offered = undefined;
        }
        if (offered === undefined && this.#stack.links.has(name))
          throw new Refusal(EBUSY, `link ${name} is there already`);
        fd = offered ?? this.#open({ name, hasHeader: offload });
        if (offered === undefined) this.#stack.setLink({ name, kind: "tun", mtu });
        onOpened({ fd, name, offloads });
      }
      this.#stack.setLink({ name, mtu, up: true, running: true });
    };
    const remove = () => {
      fd = undefined;
      onOpened(undefined);
    };
    const table = this.#table("links", `tun ${name}`, tunRows, list, put, remove);
    let isApplying = false;
    return {
      ...table,
      apply: async (plan, options) => {
        offered = plan.puts.length > 0 && !isHeld() ? await inherited?.(options) : undefined;
        isApplying = true;
        try {
          return await table.apply(plan, options);
        } finally {
          isApplying = false;
        }
      },
      watch: (onChange) =>
        table.watch?.(() => {
          if (!isApplying) onChange();
        }) ?? { [Symbol.dispose]() {} },
    };
  }

  udpSocketTable({ offload, inherited, onOpened }: UdpSocketScope): Table<UdpSocketRow> {
    let held: UdpSocketRow | undefined;
    let offered: number | undefined;
    const put = (row: UdpSocketRow) => {
      if (offered !== undefined && !this.isBoundTo(offered, row)) {
        this.closeDescriptor(offered);
        offered = undefined;
      }
      const fd = offered ?? this.#bind(row);
      held = row;
      onOpened({ fd, segments: offload, merges: offload });
    };
    const list = () => (held === undefined ? [] : [held]);
    const table = this.#table("sockets", "udp socket", udpSocketRows, list, put, (row) => {
      if (row !== held) return;
      held = undefined;
      onOpened(undefined);
    });
    return {
      ...table,
      apply: async (plan, options) => {
        offered = plan.puts.length > 0 ? await inherited?.(options) : undefined;
        return await table.apply(plan, options);
      },
    };
  }

  #bind(row: UdpSocketRow): number {
    const isHere = [...this.#stack.addresses.values()].some(({ address }) =>
      equalAddress(address.address, row.address),
    );
    if (!isHere) throw new Refusal(EADDRNOTAVAIL, "the address is not here");
    const isTaken = [...this.#stack.descriptors.keys()].some((fd) => this.isBoundTo(fd, row));
    if (isTaken) throw new Refusal(EADDRINUSE, "another socket is bound so");
    return this.#open(row);
  }

  #open(what: AttachedTun | UdpSocketRow): number {
    const fd = ++this.#lastDescriptor;
    this.#stack.descriptors.set(fd, what);
    return fd;
  }

  attachedTun(fd: number): AttachedTun | undefined {
    const found = this.#stack.descriptors.get(fd);
    return found !== undefined && "hasHeader" in found ? found : undefined;
  }

  isBoundTo(fd: number, row: UdpSocketRow): boolean {
    const found = this.#stack.descriptors.get(fd);
    return found !== undefined && "port" in found && udpSocketRows.equal(row, found);
  }

  /** A TUN device goes with its descriptor. */
  closeDescriptor(fd: number): void {
    const tun = this.attachedTun(fd);
    this.#stack.descriptors.delete(fd);
    if (tun !== undefined) this.#stack.dropLink(tun.name, []);
  }
}
