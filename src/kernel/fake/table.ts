import type { Plan, RowFailure, Table } from "../../dataplane/table.ts";
import { EEXIST } from "../errno.ts";
import { NetlinkError } from "../netlink-error.ts";
import type { RowKind } from "../rows.ts";
import { Refusal } from "./refusal.ts";
import type { FakeStack, Kind } from "./stack.ts";

const NOUNS: Readonly<Record<Kind, string>> = {
  links: "link",
  addresses: "address",
  routes: "route",
  neighbors: "neighbor",
  fdb: "fdb",
  sysctls: "sysctl",
  sockets: "udp socket",
};

/** What tests see of requests and do to them. */
export interface FakeRequests {
  readonly log: string[];
  readonly refuse: (request: string) => string | undefined;
  readonly pause: () => Promise<void>;
}

/** Makes tables of what `list` finds; `put` and `remove` throw a Refusal if Linux would refuse. */
export function tablesOf(stack: FakeStack, requests: FakeRequests) {
  return <Row>(
    kind: Kind,
    name: string,
    rows: RowKind<Row>,
    list: () => readonly Row[],
    put: (row: Row) => void,
    remove: (row: Row) => void,
  ): Table<Row> => {
    const attempt = (verb: string, row: Row, action: (row: Row) => void): RowFailure<Row>[] => {
      const request = `${verb} ${NOUNS[kind]} ${rows.format(row)}`;
      try {
        const reason = requests.refuse(request);
        if (reason !== undefined) throw new Refusal(EEXIST, reason);
        action(row);
        requests.log.push(request);
        return [];
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        return [{ row, error: new NetlinkError(request, error.errno, error.message) }];
      }
    };
    return {
      ...rows,
      name,
      list: ({ signal }) => {
        if (signal.aborted) return Promise.reject(signal.reason);
        return Promise.resolve(list());
      },
      apply: async ({ puts, removals }: Plan<Row>, { signal }) => {
        signal.throwIfAborted();
        await requests.pause();
        return [
          ...puts.flatMap((row) => attempt("add", row, put)),
          ...removals.flatMap((row) => attempt("remove", row, remove)),
        ];
      },
      watch: (onChange) => stack.watch(kind, onChange),
    };
  };
}

export type MakeTable = ReturnType<typeof tablesOf>;
