// EC2's Query API as its reference describes it ("Amazon EC2 API Reference", version 2016-11-15), on a FakeVpc.
import type { IncomingMessage, ServerResponse } from "node:http";
import { ACCOUNT, type FakeRoute, type FakeRouteTable, type FakeVpc, REGION, Refused, VPC } from "./fake-vpc.ts";
import { type Identity, verify } from "./sigv4.ts";

export interface Ec2Call {
  readonly action: string;
  readonly key: string;
  readonly parameters: URLSearchParams;
  /** The error's code; undefined if it succeeded. */
  readonly refused: string | undefined;
  /** Milliseconds of the monotonic clock. */
  readonly at: number;
}

/** The five permissions of 0.7.0's README, DescribeInstances as well. */
export const README_ACTIONS = [
  "CreateRoute",
  "DeleteRoute",
  "DescribeRouteTables",
  "ModifyInstanceAttribute",
  "DescribeInstances",
];
export const ALL_ACTIONS = [...README_ACTIONS, "ReplaceRoute", "ModifyNetworkInterfaceAttribute"];

const CHANGING = /^(Create|Replace|Delete|Modify)/;

export class Ec2Api {
  readonly vpc: FakeVpc;
  readonly calls: Ec2Call[] = [];
  readonly identities: Identity[] = [];
  /** What the policy grants. */
  allowed: readonly string[] = ALL_ACTIONS;
  /** Requests still to be refused because there are too many. */
  throttles = 0;
  /** Route tables on a page. */
  pageSize = 100;
  /** Keys that have expired. */
  readonly expired = new Set<string>();
  /** Called before each request is looked at; what it throws is the answer. */
  before: (action: string) => Promise<void> = async () => {};

  constructor(vpc: FakeVpc) {
    this.vpc = vpc;
  }

  /** Actions that would have changed something, whether they were let or not. */
  get changing(): readonly string[] {
    return this.calls.map(({ action }) => action).filter((action) => CHANGING.test(action));
  }

  count(action: string): number {
    return this.calls.filter((call) => call.action === action).length;
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = "";
    for await (const chunk of request.setEncoding("utf8")) body += chunk;
    const parameters = new URLSearchParams(body);
    const action = parameters.get("Action") ?? "";
    let refused: Refused | undefined;
    let key = "";
    let answer = "";
    try {
      await this.before(action);
      key = this.#identify(request, body);
      answer = await this.#act(action, parameters);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      refused = error;
    }
    this.calls.push({ action, key, parameters, refused: refused?.code, at: performance.now() });
    response.writeHead(refused?.status ?? 200, { "content-type": "text/xml;charset=UTF-8" });
    response.end(
      refused === undefined
        ? `<?xml version="1.0" encoding="UTF-8"?><${action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r-${this.calls.length}</requestId>${answer}</${action}Response>`
        : `<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error><Code>${refused.code}</Code><Message>${text(refused.message)}</Message></Error></Errors><RequestID>r-${this.calls.length}</RequestID></Response>`,
    );
  }

  #identify(request: IncomingMessage, body: string): string {
    const verdict = verify(request, body, "ec2", (key) => this.identities.find((identity) => identity.key === key));
    if ("code" in verdict) throw new Refused(verdict.code, verdict.message, verdict.code === "AuthFailure" ? 401 : 403);
    if (verdict.region !== REGION) throw new Refused("AuthFailure", `Credential should be scoped to ${REGION}`, 401);
    if (this.expired.has(verdict.identity.key)) throw new Refused("RequestExpired", "Request has expired.");
    return verdict.identity.key;
  }

  async #act(action: string, parameters: URLSearchParams): Promise<string> {
    if (this.throttles > 0) {
      this.throttles--;
      throw new Refused("RequestLimitExceeded", "Request limit exceeded.", 503);
    }
    if (parameters.get("Version") !== "2016-11-15")
      throw new Refused("NoSuchVersion", "The requested version is not valid");
    const work = this.#actions[action];
    if (work === undefined)
      throw new Refused("InvalidAction", `The action ${action} is not valid for this web service.`);
    if (!this.allowed.includes(action))
      throw new Refused(
        "UnauthorizedOperation",
        `You are not authorized to perform this operation. User: arn:aws:sts::${ACCOUNT}:assumed-role/flannel/i-1 is not authorized to perform: ec2:${action} because no identity-based policy allows the ec2:${action} action. Encoded authorization failure message: ${"x".repeat(500)}`,
        403,
      );
    return await work(parameters);
  }

  readonly #actions: Readonly<Record<string, (parameters: URLSearchParams) => Promise<string>>> = {
    DescribeRouteTables: async (parameters) => this.#describeRouteTables(parameters),
    DescribeInstances: async (parameters) => this.#describeInstances(parameters),
    CreateRoute: async (p) => {
      await this.vpc.create(need(p, "RouteTableId"), destinationOf(p), need(p, "NetworkInterfaceId"));
      return "<return>true</return>";
    },
    ReplaceRoute: async (p) => {
      await this.vpc.replace(need(p, "RouteTableId"), destinationOf(p), need(p, "NetworkInterfaceId"));
      return "<return>true</return>";
    },
    DeleteRoute: async (p) => {
      await this.vpc.delete(need(p, "RouteTableId"), destinationOf(p));
      return "<return>true</return>";
    },
    ModifyNetworkInterfaceAttribute: async (p) => {
      await this.vpc.setCheck(
        this.vpc.instanceOf(need(p, "NetworkInterfaceId")),
        need(p, "SourceDestCheck.Value") === "true",
      );
      return "<return>true</return>";
    },
    ModifyInstanceAttribute: async (p) => {
      const instance = this.vpc.instances.find(({ id }) => id === need(p, "InstanceId"));
      if (instance?.isMultihomed === true)
        throw new Refused(
          "InvalidInstanceID",
          `There are multiple interfaces attached to instance '${instance.id}'. Please specify an interface ID for the operation instead.`,
        );
      await this.vpc.setCheck(instance, need(p, "SourceDestCheck.Value") === "true");
      return "<return>true</return>";
    },
  };

  #describeRouteTables(parameters: URLSearchParams): string {
    const filters = filtersOf(parameters);
    const matching = this.vpc.tables.filter((table) =>
      [...filters].every(([name, values]) => matches(table, name, values)),
    );
    const start = Number(parameters.get("NextToken") ?? 0);
    const size = Math.min(this.pageSize, Number(parameters.get("MaxResults") ?? 1000));
    const page = matching.slice(start, start + size);
    const next = start + size < matching.length ? `<nextToken>${start + size}</nextToken>` : "";
    return `<routeTableSet>${page.map((table) => this.#tableXml(table)).join("")}</routeTableSet>${next}`;
  }

  #tableXml({ id, subnets, isMain, routes }: FakeRouteTable): string {
    const association = (inside: string, main: boolean) =>
      `<item><routeTableAssociationId>rtbassoc-1</routeTableAssociationId><routeTableId>${id}</routeTableId>${inside}<main>${main}</main></item>`;
    const associations = [
      ...(isMain ? [association("", true)] : []),
      ...subnets.map((subnet) => association(`<subnetId>${subnet}</subnetId>`, false)),
    ];
    return `<item><routeTableId>${id}</routeTableId><vpcId>${VPC}</vpcId><ownerId>${ACCOUNT}</ownerId><routeSet>${routes.map((route) => this.#routeXml(route)).join("")}</routeSet><associationSet>${associations.join("")}</associationSet><tagSet/></item>`;
  }

  #routeXml(route: FakeRoute): string {
    const { destination, target, origin } = route;
    const instance = this.vpc.instanceOf(target);
    const to = target.startsWith("eni-")
      ? `<networkInterfaceId>${target}</networkInterfaceId>${instance === undefined ? "" : `<instanceId>${instance.id}</instanceId><instanceOwnerId>${ACCOUNT}</instanceOwnerId>`}`
      : `<gatewayId>${target}</gatewayId>`;
    const name = destination.includes(":") ? "destinationIpv6CidrBlock" : "destinationCidrBlock";
    return `<item><${name}>${destination}</${name}>${to}<state>${this.vpc.stateOf(route)}</state><origin>${origin}</origin></item>`;
  }

  #describeInstances(parameters: URLSearchParams): string {
    const instance = this.vpc.instances.find(({ id }) => id === parameters.get("InstanceId.1"));
    if (instance === undefined) throw new Refused("InvalidInstanceID.NotFound", "The instance ID does not exist");
    const { id, networkInterface, sourceDestCheck, address } = instance;
    return `<reservationSet><item><reservationId>r-1</reservationId><instancesSet><item><instanceId>${id}</instanceId><networkInterfaceSet><item><networkInterfaceId>${networkInterface}</networkInterfaceId><privateIpAddress>${address}</privateIpAddress><sourceDestCheck>${sourceDestCheck}</sourceDestCheck></item></networkInterfaceSet></item></instancesSet></item></reservationSet>`;
  }
}

function matches({ id, subnets, isMain }: FakeRouteTable, name: string, values: readonly string[]): boolean {
  if (name === "route-table-id") return values.includes(id);
  if (name === "vpc-id") return values.includes(VPC);
  if (name === "association.subnet-id") return subnets.some((subnet) => values.includes(subnet));
  if (name === "association.main") return values.includes(String(isMain));
  throw new Refused("InvalidParameterValue", `The filter '${name}' is invalid`);
}

function filtersOf(parameters: URLSearchParams): ReadonlyMap<string, readonly string[]> {
  const filters = new Map<string, string[]>();
  for (const [key, value] of parameters) {
    const [, number, field] = /^Filter\.(\d+)\.(Name|Value\.\d+)$/.exec(key) ?? [];
    if (number === undefined || field === "Name") continue;
    const name = need(parameters, `Filter.${number}.Name`);
    filters.set(name, [...(filters.get(name) ?? []), value]);
  }
  return filters;
}

function destinationOf(parameters: URLSearchParams): string {
  const name = parameters.has("DestinationIpv6CidrBlock") ? "DestinationIpv6CidrBlock" : "DestinationCidrBlock";
  const value = need(parameters, name);
  if (value.includes(":") !== (name === "DestinationIpv6CidrBlock"))
    throw new Refused(
      "InvalidParameterValue",
      `Value (${value}) for parameter ${name} is invalid. This is not a valid CIDR block.`,
    );
  return value;
}

function need(parameters: URLSearchParams, name: string): string {
  const value = parameters.get(name);
  if (value === null) throw new Refused("MissingParameter", `The request must contain the parameter ${name}`);
  return value;
}

function text(message: string): string {
  return message.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
