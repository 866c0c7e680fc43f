/** An EC2 instance with one interface. */
export interface FakeInstance {
  readonly id: string;
  readonly networkInterface: string;
  readonly mac: string;
  readonly address: string;
  /** If its subnet has IPv6. */
  readonly ipv6?: string | undefined;
  readonly subnet: string;
  sourceDestCheck: boolean;
  isRunning: boolean;
  /** Whether it has more interfaces than this one. */
  isMultihomed?: boolean;
}

export interface FakeRoute {
  readonly destination: string;
  /** An interface, or a gateway. */
  readonly target: string;
  readonly origin: "CreateRouteTable" | "CreateRoute" | "EnableVgwRoutePropagation";
}

export interface FakeRouteTable {
  readonly id: string;
  /** Subnets that use it. */
  readonly subnets: readonly string[];
  readonly isMain: boolean;
  /** How many routes of each family people may make. */
  quota: number;
  routes: readonly FakeRoute[];
}

function isIPv6(destination: string): boolean {
  return destination.includes(":");
}

/** A request that EC2 refuses. */
export class Refused extends Error {
  readonly code: string;
  readonly status: number;

  constructor(code: string, message: string, status = 400) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

export const VPC = "vpc-0aaaaaaaaaaaaaaa1";
export const SUBNET = "subnet-0bbbbbbbbbbbbbbb1";
export const MAIN_TABLE = "rtb-0ccccccccccccccc1";
export const SUBNET_TABLE = "rtb-0ccccccccccccccc2";
export const ACCOUNT = "123456789012";
export const REGION = "eu-test-1";

/** A VPC: instances, and route tables that say which of them gets what. */
export class FakeVpc {
  readonly range: string;
  readonly ipv6Range: string | undefined;
  readonly instances: FakeInstance[] = [];
  tables: FakeRouteTable[];
  /** Called after every change and awaited before the change is acknowledged. */
  onChange: () => Promise<void> = async () => {};

  /** @param ipv6Range none for a VPC that has no IPv6 */
  constructor(range: string, ipv6Range?: string) {
    this.range = range;
    this.ipv6Range = ipv6Range;
    const routes = [range, ...(ipv6Range === undefined ? [] : [ipv6Range])].map(
      (destination): FakeRoute => ({ destination, target: "local", origin: "CreateRouteTable" }),
    );
    this.tables = [
      { id: MAIN_TABLE, subnets: [], isMain: true, quota: 50, routes },
      { id: SUBNET_TABLE, subnets: [SUBNET], isMain: false, quota: 50, routes },
    ];
  }

  /** Launches the next instance. */
  launch(address: string, { mac, ipv6 }: Partial<Pick<FakeInstance, "mac" | "ipv6">> = {}): FakeInstance {
    const number = this.instances.length + 1;
    const digits = number.toString(16).padStart(17, "0");
    const instance: FakeInstance = {
      id: `i-${digits}`,
      networkInterface: `eni-${digits}`,
      mac: mac ?? `02:00:00:00:00:${number.toString(16).padStart(2, "0")}`,
      address,
      ipv6,
      subnet: SUBNET,
      sourceDestCheck: true,
      isRunning: true,
    };
    this.instances.push(instance);
    return instance;
  }

  table(id: string): FakeRouteTable {
    const table = this.tables.find((each) => each.id === id);
    if (table === undefined)
      throw new Refused("InvalidRouteTableID.NotFound", `The routeTable ID '${id}' does not exist`);
    return table;
  }

  instanceOf(networkInterface: string): FakeInstance | undefined {
    return this.instances.find((instance) => instance.networkInterface === networkInterface);
  }

  stateOf({ target }: FakeRoute): "active" | "blackhole" {
    return target.startsWith("eni-") && this.instanceOf(target)?.isRunning !== true ? "blackhole" : "active";
  }

  async create(table: string, destination: string, target: string): Promise<void> {
    const { routes, quota } = this.table(table);
    this.#requireInterface(target);
    if (routes.some((route) => route.destination === destination))
      throw new Refused("RouteAlreadyExists", `The route identified by ${destination} already exists.`);
    const made = routes.filter(
      (route) => route.origin === "CreateRoute" && isIPv6(route.destination) === isIPv6(destination),
    );
    if (made.length >= quota) throw new Refused("RouteLimitExceeded", "The maximum number of routes has been reached.");
    await this.set(table, destination, target);
  }

  async replace(table: string, destination: string, target: string): Promise<void> {
    this.#requireInterface(target);
    if (!this.table(table).routes.some((route) => route.destination === destination))
      throw new Refused(
        "InvalidParameterValue",
        `There is no route defined for '${destination}' in the route table. Use CreateRoute instead.`,
      );
    await this.set(table, destination, target);
  }

  async delete(table: string, destination: string): Promise<void> {
    if (!this.table(table).routes.some((route) => route.destination === destination))
      throw new Refused(
        "InvalidRoute.NotFound",
        `no route with destination-cidr-block ${destination} in route table ${table}`,
      );
    await this.unset(table, destination);
  }

  /** By hand. */
  async set(
    table: string,
    destination: string,
    target: string,
    origin: FakeRoute["origin"] = "CreateRoute",
  ): Promise<void> {
    const found = this.table(table);
    const others = found.routes.filter((route) => route.destination !== destination);
    found.routes = [...others, { destination, target, origin }];
    await this.onChange();
  }

  /** By hand. */
  async unset(table: string, destination: string): Promise<void> {
    const found = this.table(table);
    found.routes = found.routes.filter((route) => route.destination !== destination);
    await this.onChange();
  }

  async setCheck(instance: FakeInstance | undefined, isOn: boolean): Promise<void> {
    if (instance === undefined) throw new Refused("InvalidInstanceID.NotFound", "The instance ID does not exist");
    instance.sourceDestCheck = isOn;
    await this.onChange();
  }

  async setRunning(instance: FakeInstance, isRunning: boolean): Promise<void> {
    instance.isRunning = isRunning;
    await this.onChange();
  }

  /** Where a table sends people's routes, as lines `10.3.4.0/24 eni-…`. */
  routesOf(table: string): readonly string[] {
    return this.table(table)
      .routes.filter(({ origin }) => origin === "CreateRoute")
      .map(({ destination, target }) => `${destination} ${target}`)
      .toSorted();
  }

  #requireInterface(id: string): void {
    if (this.instanceOf(id) === undefined)
      throw new Refused("InvalidNetworkInterfaceID.NotFound", `The networkInterface ID '${id}' does not exist`);
  }
}
