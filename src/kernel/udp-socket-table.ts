import type { Plan, RowFailure, Table } from "../dataplane/table.ts";
import type { Abortable } from "../lib/abortable.ts";
import { SystemCallError } from "./errno.ts";
import type { UdpSocket, UdpSocketRow, UdpSocketScope } from "./kernel.ts";
import { close } from "./libc.ts";
import { udpSocketRows } from "./rows.ts";
import { adoptUdpSocket, openUdpSocket } from "./udp-socket.ts";

/** One UDP socket, held open by this process: nobody else can take it away. */
export class UdpSocketTable implements Table<UdpSocketRow> {
  readonly name = "udp socket";
  readonly key = udpSocketRows.key;
  readonly equal = udpSocketRows.equal;
  readonly format = udpSocketRows.format;
  readonly longestRetry = 1_000;
  readonly #scope: UdpSocketScope;
  readonly #namespace: string | undefined;
  #row: UdpSocketRow | undefined;

  constructor(scope: UdpSocketScope, namespace: string | undefined) {
    this.#scope = scope;
    this.#namespace = namespace;
  }

  list(): Promise<readonly UdpSocketRow[]> {
    return Promise.resolve(this.#row === undefined ? [] : [this.#row]);
  }

  async apply(plan: Plan<UdpSocketRow>, options: Abortable): Promise<readonly RowFailure<UdpSocketRow>[]> {
    const failures: RowFailure<UdpSocketRow>[] = [];
    for (const row of plan.puts) {
      try {
        const socket = (await this.#adopt(row, options)) ?? this.#open(row);
        this.#row = row;
        this.#scope.onOpened(socket);
      } catch (error) {
        if (!(error instanceof SystemCallError)) throw error;
        failures.push({ row, error });
      }
    }
    if (this.#row !== undefined && plan.removals.includes(this.#row)) {
      this.#row = undefined;
      this.#scope.onOpened(undefined);
    }
    return failures;
  }

  #open({ address, port }: UdpSocketRow): UdpSocket {
    return openUdpSocket(address, port, this.#scope.offload, this.#namespace);
  }

  /** The socket of an earlier daemon, with the datagrams that wait in it. */
  async #adopt({ address, port }: UdpSocketRow, options: Abortable): Promise<UdpSocket | undefined> {
    const fd = await this.#scope.inherited?.(options);
    if (fd === undefined) return undefined;
    const socket = adoptUdpSocket(fd, address, port, this.#scope.offload);
    if (socket === undefined) close(fd);
    return socket;
  }
}
