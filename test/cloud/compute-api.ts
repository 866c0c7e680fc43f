// Compute Engine's REST API, v1, as its reference describes it: routes of one project, operations that take time, an instance to look at.
import type { IncomingMessage, ServerResponse } from "node:http";

export const PROJECT = "flannel-test";
export const PROJECT_NUMBER = "424242424242";
export const ZONE = "europe-test1-b";
export const NETWORK = "pods";
const CANONICAL = "https://www.googleapis.com/compute/v1";

export interface GceInstance {
  readonly name: string;
  readonly mac: string;
  readonly address: string;
  /** If its interface has both. */
  readonly ipv6?: string | undefined;
  canIpForward: boolean;
  state: "running" | "stopped" | "deleted";
}

/** As the API has it. */
export interface GceRoute {
  readonly name: string;
  readonly destRange: string;
  readonly network: string;
  readonly nextHopInstance?: string;
  readonly nextHopGateway?: string;
  readonly priority: number;
  readonly tags?: readonly string[];
}

export interface ComputeCall {
  readonly method: string;
  /** Below the project. */
  readonly path: string;
  readonly token: string;
  readonly status: number;
}

interface Operation {
  readonly name: string;
  /** Looks at it until it is done. */
  looks: number;
  finish: () => { readonly code: string; readonly message: string } | undefined;
  outcome?: { readonly error?: { readonly errors: readonly { readonly code: string; readonly message: string }[] } };
}

class Refusal extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string, message: string) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

const ALL = [
  "compute.routes.list",
  "compute.routes.create",
  "compute.routes.delete",
  "compute.networks.updatePolicy",
  "compute.instances.use",
  "compute.instances.get",
  "compute.globalOperations.get",
];

export class ComputeApi {
  readonly instances: GceInstance[] = [];
  routes: GceRoute[] = [];
  readonly calls: ComputeCall[] = [];
  /** Access tokens that are accepted. */
  readonly tokens = new Set<string>();
  allowed: readonly string[] = ALL;
  /** Permissions that were asked for. */
  readonly needed = new Set<string>();
  /** Whether the token was made for less than compute-rw. */
  lacksScope = false;
  quota = 250;
  pageSize = 500;
  /** How often an operation is looked at before it has ended. */
  looks = 0;
  /** Requests still to be refused because there are too many. */
  throttles = 0;
  /** What goes wrong in the next operations, while they run. */
  readonly failures: { readonly code: string; readonly message: string }[] = [];
  /** Called after every change and awaited before anybody hears of it. */
  onChange: () => Promise<void> = async () => {};
  /** Called before each request is looked at. */
  before: () => Promise<void> = async () => {};
  readonly #operations = new Map<string, Operation>();

  static permissions(...without: readonly string[]): readonly string[] {
    return ALL.filter((permission) => !without.includes(permission));
  }

  launch(
    address: string,
    { mac = "42:01:0a:80:00:01", ipv6 }: Partial<Pick<GceInstance, "mac" | "ipv6">> = {},
  ): GceInstance {
    const instance: GceInstance = {
      name: `node-${this.instances.length + 1}`,
      mac,
      address,
      ipv6,
      canIpForward: true,
      state: "running",
    };
    this.instances.push(instance);
    return instance;
  }

  get changing(): readonly string[] {
    return this.calls.filter(({ method }) => method !== "GET").map(({ method, path }) => `${method} ${path}`);
  }

  /** By hand. */
  async put(route: Partial<GceRoute> & Pick<GceRoute, "name" | "destRange">): Promise<void> {
    this.routes = this.routes.filter(({ name }) => name !== route.name);
    this.routes.push({ network: networkUrl(NETWORK), priority: 1000, ...route });
    await this.onChange();
  }

  /** By hand. */
  async remove(name: string): Promise<void> {
    this.routes = this.routes.filter((route) => route.name !== name);
    await this.onChange();
  }

  async set(instance: GceInstance, change: Partial<Pick<GceInstance, "state" | "canIpForward">>): Promise<void> {
    Object.assign(instance, change);
    await this.onChange();
  }

  instanceOf({ nextHopInstance }: GceRoute): GceInstance | undefined {
    return this.instances.find(
      (instance) => nextHopInstance !== undefined && nextHopInstance.endsWith(`/${instance.name}`),
    );
  }

  /** `flannel-10-5-3-0-24 10.5.3.0/24 node-1` */
  get lines(): readonly string[] {
    return this.routes
      .map(({ name, destRange, nextHopInstance = "" }) => `${name} ${destRange} ${nextHopInstance.split("/").at(-1)}`)
      .toSorted();
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = "";
    for await (const chunk of request.setEncoding("utf8")) body += chunk;
    const url = new URL(request.url ?? "/", "https://compute");
    const prefix = `/compute/v1/projects/${PROJECT}/`;
    const path = url.pathname.slice(prefix.length);
    const method = request.method ?? "";
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1] ?? "";
    let status = 200;
    let answer: unknown;
    try {
      await this.before();
      if (!this.tokens.has(token))
        throw new Refusal(401, "authError", "Request had invalid authentication credentials.");
      if (this.throttles > 0) {
        this.throttles--;
        throw new Refusal(403, "rateLimitExceeded", "Rate Limit Exceeded");
      }
      if (!url.pathname.startsWith(prefix)) throw new Refusal(404, "notFound", "The resource was not found");
      answer = await this.#answer(method, path, url.searchParams, body);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      status = error.status;
      const { message, reason } = error;
      answer = {
        error: {
          code: status,
          message,
          errors: [{ message, domain: "global", reason }],
          ...(reason === "insufficientPermissions" && {
            status: "PERMISSION_DENIED",
            details: [
              { "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "ACCESS_TOKEN_SCOPE_INSUFFICIENT" },
            ],
          }),
        },
      };
    }
    this.calls.push({ method, path, token, status });
    response.writeHead(status, { "content-type": "application/json; charset=UTF-8" });
    response.end(JSON.stringify(answer));
  }

  async #answer(method: string, path: string, query: URLSearchParams, body: string): Promise<unknown> {
    const [, operation] = /^global\/operations\/([\w-]+)$/.exec(path) ?? [];
    const [, route] = /^global\/routes\/([\w-]+)$/.exec(path) ?? [];
    const [, instance] = new RegExp(`^zones/${ZONE}/instances/([\\w-]+)$`).exec(path) ?? [];
    if (method === "GET" && operation !== undefined) return await this.#look(operation);
    if (method === "GET" && path === "global/routes") return this.#list(query);
    if (method === "GET" && instance !== undefined) return this.#instance(instance, query);
    if (method === "POST" && path === "global/routes") return this.#insert(JSON.parse(body) as GceRoute);
    if (method === "DELETE" && route !== undefined) return this.#delete(route);
    throw new Refusal(404, "notFound", `The resource '${path}' was not found`);
  }

  #need(permission: string, resource: string): void {
    this.needed.add(permission);
    if (this.lacksScope && permission !== "compute.routes.list" && permission !== "compute.instances.get")
      throw new Refusal(403, "insufficientPermissions", "Request had insufficient authentication scopes.");
    if (!this.allowed.includes(permission))
      throw new Refusal(403, "forbidden", `Required '${permission}' permission for 'projects/${PROJECT}/${resource}'`);
  }

  #list(query: URLSearchParams): unknown {
    this.#need("compute.routes.list", "global/routes");
    const [, pattern = ".*"] = /^name eq (.*)$/.exec(query.get("filter") ?? "") ?? [];
    const named = this.routes.filter(({ name }) => new RegExp(`^(?:${pattern})$`).test(name));
    const start = Number(query.get("pageToken") ?? 0);
    const size = Math.min(this.pageSize, Number(query.get("maxResults") ?? 500));
    const items = named
      .slice(start, start + size)
      .map((route) => ({ kind: "compute#route", ...route, warnings: this.#warnings(route) }));
    return {
      kind: "compute#routeList",
      items,
      ...(start + size < named.length && { nextPageToken: String(start + size) }),
    };
  }

  #warnings(route: GceRoute): readonly unknown[] {
    if (route.nextHopInstance === undefined) return [];
    const instance = this.instanceOf(route);
    const code =
      instance === undefined || instance.state === "deleted"
        ? "NEXT_HOP_INSTANCE_NOT_FOUND"
        : instance.state === "stopped"
          ? "NEXT_HOP_NOT_RUNNING"
          : instance.canIpForward
            ? undefined
            : "NEXT_HOP_CANNOT_IP_FORWARD";
    return code === undefined ? [] : [{ code, message: "", data: [] }];
  }

  #instance(name: string, query: URLSearchParams): unknown {
    this.#need("compute.instances.get", `zones/${ZONE}/instances/${name}`);
    const found = this.instances.find((instance) => instance.name === name);
    if (found === undefined) throw new Refusal(404, "notFound", `The resource 'instances/${name}' was not found`);
    if (query.get("fields") === "canIpForward") return found.canIpForward ? { canIpForward: true } : {};
    return { name, canIpForward: found.canIpForward, status: found.state.toUpperCase() };
  }

  #insert(route: GceRoute): unknown {
    for (const permission of ["compute.routes.create", "compute.networks.updatePolicy", "compute.instances.use"])
      this.#need(permission, `global/routes/${route.name}`);
    if (this.routes.some(({ name }) => name === route.name))
      throw new Refusal(
        409,
        "alreadyExists",
        `The resource 'projects/${PROJECT}/global/routes/${route.name}' already exists`,
      );
    if (this.routes.length >= this.quota)
      throw new Refusal(403, "quotaExceeded", `Quota 'ROUTES' exceeded.  Limit: ${this.quota}.0 globally.`);
    if (
      route.network !== networkUrl(NETWORK) ||
      !route.nextHopInstance?.startsWith(`${CANONICAL}/projects/${PROJECT}/zones/${ZONE}/instances/`)
    )
      throw new Refusal(400, "invalid", "Invalid value for field 'resource.network' or 'resource.nextHopInstance'");
    return this.#begin(() => void this.routes.push(route));
  }

  #delete(name: string): unknown {
    for (const permission of ["compute.routes.delete", "compute.networks.updatePolicy"])
      this.#need(permission, `global/routes/${name}`);
    if (!this.routes.some((route) => route.name === name))
      throw new Refusal(404, "notFound", `The resource 'projects/${PROJECT}/global/routes/${name}' was not found`);
    return this.#begin(() => {
      this.routes = this.routes.filter((route) => route.name !== name);
    });
  }

  /** What is changed is changed when the operation ends, not before. */
  #begin(change: () => void): unknown {
    const failure = this.failures.shift();
    const name = `operation-${this.#operations.size + 1}`;
    const finish = () => {
      if (failure === undefined) change();
      return failure;
    };
    this.#operations.set(name, { name, looks: this.looks, finish });
    return { kind: "compute#operation", name, status: "PENDING", progress: 0 };
  }

  async #look(name: string): Promise<unknown> {
    this.#need("compute.globalOperations.get", `global/operations/${name}`);
    const operation = this.#operations.get(name);
    if (operation === undefined) throw new Refusal(404, "notFound", `The resource 'operations/${name}' was not found`);
    if (operation.outcome === undefined && operation.looks-- > 0) return { name, status: "RUNNING", progress: 50 };
    if (operation.outcome === undefined) {
      const failure = operation.finish();
      operation.outcome = failure === undefined ? {} : { error: { errors: [failure] } };
      await this.onChange();
    }
    return { name, status: "DONE", progress: 100, ...operation.outcome };
  }
}

export function networkUrl(name: string): string {
  return `${CANONICAL}/projects/${PROJECT}/global/networks/${name}`;
}

export function instanceUrl(name: string): string {
  return `${CANONICAL}/${instancePath(name)}`;
}

export function instancePath(name: string): string {
  return `projects/${PROJECT}/zones/${ZONE}/instances/${name}`;
}
