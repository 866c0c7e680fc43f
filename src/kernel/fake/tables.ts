import type { Table } from "../../dataplane/table.ts";
import { isLinkLocal } from "../../ip/address.ts";
import { containsAddress, containsPrefix, formatPrefix } from "../../ip/prefix.ts";
import { EEXIST, ENODEV, ENOENT } from "../errno.ts";
import {
  type AddressRow,
  type AddressScope,
  type FdbRow,
  type FdbScope,
  type KernelRoute,
  type LinkRow,
  type LinkScope,
  type NeighborRow,
  type NeighborScope,
  ROUTE_PROTOCOL,
  type RouteRow,
  type RouteScope,
  type SysctlRow,
  type SysctlScope,
} from "../kernel.ts";
import { formatRoute } from "../route-format.ts";
import { addressRows, fdbRows, linkRows, neighborRows, routeRows, sysctlRows } from "../rows.ts";
import { PROTOCOL_BOOT, routeKey, toLinkRow, toRouteRow, usualRoute } from "./as-rows.ts";
import { Refusal } from "./refusal.ts";
import type { FakeStack } from "./stack.ts";
import type { MakeTable } from "./table.ts";

/** The tables of a kernel in memory, with Linux's conditions. */
export class FakeTables {
  readonly #stack: FakeStack;
  readonly #table: MakeTable;

  constructor(stack: FakeStack, table: MakeTable) {
    this.#stack = stack;
    this.#table = table;
  }

  linkTable({ owned }: LinkScope): Table<LinkRow> {
    const list = () => [...this.#stack.links.values()].filter(({ name }) => owned.includes(name)).flatMap(toLinkRow);
    return this.#table(
      "links",
      "links",
      linkRows,
      list,
      (row) => this.#stack.putLink(row),
      (row) => {
        if (this.#stack.links.get(row.name)?.kind === row.kind) this.#stack.dropLink(row.name, ["links"]);
      },
    );
  }

  addressTable({ link }: AddressScope): Table<AddressRow> {
    const list = () =>
      [...this.#stack.addresses.values()].filter(
        (row) => row.link === link && !isLinkLocal(row.address.address) && !this.#stack.isForeign(link),
      );
    const id = (row: AddressRow) => `${row.link} ${formatPrefix(row.address)}`;
    const put = (row: AddressRow) => {
      this.#stack.need(row.link);
      this.#stack.addresses.set(id(row), { link: row.link, address: row.address });
    };
    return this.#table("addresses", `addresses ${link}`, addressRows, list, put, (row) => {
      if (!this.#stack.isForeign(link)) this.#stack.addresses.delete(id(row));
    });
  }

  routeTable(scope: RouteScope): Table<RouteRow> {
    const adopted = new Set<string>();
    const isOurs = (route: KernelRoute) =>
      route.metric === 0 &&
      (route.protocol === ROUTE_PROTOCOL ||
        (route.protocol === PROTOCOL_BOOT && (adopted.has(formatPrefix(route.destination)) || scope.adoptable(route))));
    const isListed = (route: KernelRoute) =>
      isOurs(route) && scope.networks.some((network) => containsPrefix(network, route.destination));
    const list = () => [...this.#stack.routes.values()].filter(isListed).flatMap(toRouteRow);
    const put = (row: RouteRow) => {
      if (!this.#stack.need(row.link).up) throw new Refusal(ENODEV, `link ${row.link} is down`);
      const key = routeKey(row.destination, 0);
      const there = this.#stack.routes.get(key);
      if (there !== undefined && !isOurs(there)) {
        const [actual] = toRouteRow(there);
        const isWanted = actual !== undefined && routeRows.equal(row, actual);
        if (there.protocol !== PROTOCOL_BOOT || !isWanted)
          throw new Refusal(EEXIST, `conflict: ${formatRoute(there)} is not ours`);
        adopted.add(formatPrefix(row.destination));
        return;
      }
      this.#stack.routes.set(key, { ...usualRoute(row), protocol: ROUTE_PROTOCOL });
    };
    return this.#table("routes", "routes", routeRows, list, put, (row) => {
      const key = routeKey(row.destination, 0);
      const there = this.#stack.routes.get(key);
      if (there !== undefined && isListed(there)) this.#stack.routes.delete(key);
    });
  }

  neighborTable({ link, networks }: NeighborScope): Table<NeighborRow> {
    const list = () =>
      [...this.#stack.neighbors.values()].filter(
        (row) => row.link === link && networks.some((network) => containsAddress(network, row.destination)),
      );
    const put = (row: NeighborRow) => {
      this.#stack.need(row.link);
      this.#stack.neighbors.set(`${row.link} ${neighborRows.key(row)}`, row);
    };
    return this.#table("neighbors", `neighbors ${link}`, neighborRows, list, put, (row) =>
      this.#stack.neighbors.delete(`${row.link} ${neighborRows.key(row)}`),
    );
  }

  fdbTable({ link }: FdbScope): Table<FdbRow> {
    const list = () => [...this.#stack.fdb.values()].filter((row) => row.link === link);
    const put = (row: FdbRow) => {
      this.#stack.need(row.link);
      this.#stack.fdb.set(`${row.link} ${row.mac}`, row);
    };
    return this.#table("fdb", `fdb ${link}`, fdbRows, list, put, (row) =>
      this.#stack.fdb.delete(`${row.link} ${row.mac}`),
    );
  }

  sysctlTable({ keys }: SysctlScope): Table<SysctlRow> {
    const list = () =>
      keys.flatMap((key) => {
        const value = this.#stack.sysctls.get(key);
        return value === undefined ? [] : [{ key, value }];
      });
    const put = ({ key, value }: SysctlRow) => {
      if (!this.#stack.sysctls.has(key)) throw new Refusal(ENOENT, "there is no such value");
      this.#stack.sysctls.set(key, value);
    };
    return this.#table("sysctls", "sysctl", sysctlRows, list, put, () => {});
  }
}
