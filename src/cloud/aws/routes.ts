import type { Route, RouteTable } from "@aws-sdk/client-ec2";
import type { Family } from "../../ip/address.ts";
import { formatPrefix, type Prefix, parsePrefix } from "../../ip/prefix.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Logger } from "../../lib/logger.ts";
import type { CloudRoute, LeadsTo } from "../cloud.ts";
import { CloudError, isCloudError } from "../cloud-error.ts";
import type { RouteApi } from "../route-api.ts";
import type { Ec2 } from "./client.ts";
import type { Ec2Instance } from "./metadata.ts";

/** Routes of a VPC: those of the tables that were named, or of the one that the instance's subnet uses. */
export class VpcRoutes implements RouteApi {
  readonly name: string;
  readonly #ec2: Ec2;
  readonly #self: Ec2Instance;
  readonly #ids: readonly string[];
  readonly #logger: Logger;
  /** The table that the subnet uses, as of the last look. */
  #subnetsTable: string | undefined;
  /** Of each table and family, as of the last look. */
  readonly #counts = new Map<string, number>();
  #saidNoReplace = false;

  /** @param ids none for the subnet's */
  constructor(ec2: Ec2, self: Ec2Instance, ids: readonly string[], logger: Logger) {
    this.#ec2 = ec2;
    this.#self = self;
    this.#ids = ids;
    this.#logger = logger;
    this.name = `routes of ${self.vpc}`;
  }

  get steps(): number {
    return this.#ec2.steps;
  }

  async list(options: Abortable): Promise<readonly CloudRoute[]> {
    const tables =
      this.#ids.length > 0
        ? await this.#ec2.routeTables([{ Name: "route-table-id", Values: [...this.#ids] }], options)
        : [await this.#tableOfSubnet(options)];
    return tables.flatMap((table) => this.#routesOf(table));
  }

  async create(route: CloudRoute, options: Abortable): Promise<void> {
    const table = this.tableOf(route.table);
    try {
      await this.#ec2.createRoute({ ...this.#destination(route, table), NetworkInterfaceId: route.target }, options);
    } catch (error) {
      throw isCloudError(error, "quota") ? this.#full(table, route.destination.address.family) : error;
    }
  }

  async replace(found: CloudRoute, route: CloudRoute, options: Abortable): Promise<void> {
    const input = { ...this.#destination(route, this.tableOf(route.table)), NetworkInterfaceId: route.target };
    try {
      await this.#ec2.replaceRoute(input, options);
    } catch (error) {
      if (isCloudError(error, "gone")) return await this.create(route, options); // since the look
      if (!isCloudError(error, "permission")) throw error;
      if (!this.#saidNoReplace)
        this.#logger.info("no leave to replace a route: it is deleted and created", { reason: error });
      this.#saidNoReplace = true;
      await this.remove(found, options);
      await this.create(route, options);
    }
  }

  async remove(found: CloudRoute, options: Abortable): Promise<void> {
    try {
      await this.#ec2.deleteRoute(this.#destination(found, this.tableOf(found.table)), options);
    } catch (error) {
      if (!isCloudError(error, "gone")) throw error;
    }
  }

  /** The one associated with it, else the VPC's main one. */
  async #tableOfSubnet(options: Abortable): Promise<RouteTable> {
    const { subnet, vpc } = this.#self;
    const own = await this.#ec2.routeTables([{ Name: "association.subnet-id", Values: [subnet] }], options);
    const main = [
      { Name: "association.main", Values: ["true"] },
      { Name: "vpc-id", Values: [vpc] },
    ];
    const table = own[0] ?? (await this.#ec2.routeTables(main, options))[0];
    if (table?.RouteTableId === undefined)
      throw new CloudError("gone", `neither ${subnet} nor ${vpc} has a route table; Backend.RouteTableID can name one`);
    if (this.#subnetsTable !== table.RouteTableId)
      this.#logger.info("using the route table of the instance's subnet", {
        routeTable: table.RouteTableId,
        subnet,
        vpc,
      });
    this.#subnetsTable = table.RouteTableId;
    return table;
  }

  #routesOf({ RouteTableId: id = "", Routes: routes = [] }: RouteTable): readonly CloudRoute[] {
    const made = routes.filter(({ Origin }) => Origin === undefined || Origin === "CreateRoute");
    const table = this.#ids.length > 0 ? id : undefined;
    const found = made.flatMap((route): readonly CloudRoute[] => {
      const destination = destinationOf(route);
      return destination === undefined
        ? []
        : [{ table, destination, target: targetOf(route), leadsTo: this.#leadsTo(route) }];
    });
    for (const family of [4, 6] as const)
      this.#counts.set(
        `${id} ${family}`,
        found.filter(({ destination }) => destination.address.family === family).length,
      );
    return found;
  }

  #leadsTo({ State, NetworkInterfaceId, InstanceId }: Route): LeadsTo {
    if (State === "blackhole") return "nowhere";
    if (NetworkInterfaceId === this.#self.networkInterface) return "self";
    if (InstanceId === this.#self.instance) return "elsewhere";
    return NetworkInterfaceId !== undefined || InstanceId !== undefined ? "instance" : "elsewhere";
  }

  tableOf(table: string | undefined): string {
    const id = table ?? this.#subnetsTable;
    if (id === undefined) throw new Error("the subnet's route table was not looked for yet");
    return id;
  }

  #destination({ destination }: CloudRoute, table: string) {
    const text = formatPrefix(destination);
    return destination.address.family === 4
      ? { RouteTableId: table, DestinationCidrBlock: text }
      : { RouteTableId: table, DestinationIpv6CidrBlock: text };
  }

  /** EC2 counts each family by itself. "Amazon VPC quotas", Amazon VPC User Guide. */
  #full(table: string, family: Family): CloudError {
    const count = this.#counts.get(`${table} ${family}`);
    return new CloudError(
      "quota",
      `route table ${table} is full${count === undefined ? "" : `: it holds ${count} IPv${family} routes`}; ask for more in Service Quotas ("Routes per route table" of Amazon VPC), or delete routes that are not needed`,
    );
  }
}

/** Undefined for prefix lists, which flannel never makes. */
function destinationOf({ DestinationCidrBlock, DestinationIpv6CidrBlock }: Route): Prefix | undefined {
  const text = DestinationCidrBlock ?? DestinationIpv6CidrBlock;
  try {
    return text === undefined ? undefined : parsePrefix(text);
  } catch {
    return undefined;
  }
}

function targetOf(route: Route): string {
  return (
    route.NetworkInterfaceId ??
    route.InstanceId ??
    route.NatGatewayId ??
    route.TransitGatewayId ??
    route.VpcPeeringConnectionId ??
    route.GatewayId ??
    route.EgressOnlyInternetGatewayId ??
    "something else"
  );
}
