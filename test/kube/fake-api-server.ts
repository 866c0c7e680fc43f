/**
 * A Kubernetes API server for tests, written from the API's documentation and kept honest by kubectl (kubectl.test.ts). It is strict,
 * since a real cluster will be: paths, content types, RBAC by the roles in it, resource versions, what may be changed where.
 *
 * In the test's own process:
 *
 *     await using api = await FakeApiServer.start();                  // http://127.0.0.1:<free port>
 *     api.addNode("a", ["10.5.1.0/24"]);
 *     api.users.addServiceAccount("secret", "kube-flannel", "flannel"); // a bearer token; roles are objects, see api.grant()
 *     api.calls                                                        // who did what, for RBAC checks
 *     api.faults.add({ verb: "watch", fault: { kind: "status", code: 500 } });
 *
 * As a program of its own, where other programs and network namespaces need it: see fake-api-server-program.ts.
 * `api.adminToken` may do everything; `kubeconfigText()` of kubeconfig.ts makes a kubeconfig for any token or certificate.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { createGzip, constants as zlib } from "node:zlib";
import { type Answer, Answers, verbOf } from "./api/answers.ts";
import { discovery } from "./api/discovery.ts";
import { type Fault, Faults } from "./api/faults.ts";
import { actingAs } from "./api/impersonation.ts";
import { nodeObject, ObjectStore } from "./api/object-store.ts";
import { type KubeObject, nodes, resourceOf } from "./api/objects.ts";
import { parsePath, type Target } from "./api/path.ts";
import { authorize } from "./api/rbac.ts";
import { selector } from "./api/selectors.ts";
import { badRequest, StatusError } from "./api/status.ts";
import { TABLE, tableOf } from "./api/table.ts";
import { ADMINS, type User, Users } from "./api/users.ts";
import { streamChanges } from "./api/watch-stream.ts";
import { crowdNode } from "./crowd.ts";

export interface FakeApiServerOptions {
  readonly host?: string;
  /** 0: any that is free. */
  readonly port?: number;
  /** PEM texts. Client certificates of `clientCa` name their user: CN and O. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly clientCa?: string };
  /** Milliseconds; a real server sends one about every minute. */
  readonly bookmarkEvery?: number;
}

/** One line of the log of calls. */
export interface Call {
  readonly time: number;
  readonly user: string;
  /** With all that is known of them. */
  readonly identity: User;
  readonly verb: string;
  /** With its group if that is not the core's, and its subresource: `nodes/status`, `daemonsets.apps`. */
  readonly resource: string;
  readonly namespace: string;
  readonly name: string;
  /** With the query. */
  readonly url: string;
  readonly contentType: string;
  readonly body: string;
  /** 0 until it is answered. */
  status: number;
}

/** From here on a real server compresses. */
const WORTH_COMPRESSING = 128 * 1024;

export class FakeApiServer implements AsyncDisposable {
  readonly store = new ObjectStore();
  readonly users = new Users();
  readonly faults = new Faults();
  readonly adminToken = "admin-token";
  readonly #answers = new Answers(this.store);
  readonly #options: FakeApiServerOptions;
  readonly #sockets = new Set<Socket>();
  #calls: Call[] = [];
  #server: Server | undefined;
  #port: number;

  /** Resolves when it listens. */
  static async start(options: FakeApiServerOptions = {}): Promise<FakeApiServer> {
    const server = new FakeApiServer(options);
    await server.resume();
    return server;
  }

  private constructor(options: FakeApiServerOptions) {
    this.#options = options;
    this.#port = options.port ?? 0;
    this.users.addToken(this.adminToken, { name: "admin", groups: [ADMINS] });
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return `${this.#options.tls === undefined ? "http" : "https"}://${this.#options.host ?? "127.0.0.1"}:${this.#port}`;
  }

  get calls(): readonly Call[] {
    return this.#calls;
  }

  clearCalls(): void {
    this.#calls = [];
  }

  /** A node as it is once a kubelet registered it and the controller gave it its podCIDRs. */
  addNode(name: string, podCIDRs: readonly string[], more: Partial<KubeObject> = {}): KubeObject {
    return this.store.create(nodes(), nodeObject(name, podCIDRs, more));
  }

  /** Nodes as a large cluster has them; see crowd.ts. */
  addCrowd(nodesOf: readonly Parameters<typeof crowdNode>[]): void {
    for (const node of nodesOf) this.store.create(nodes(), crowdNode(...node));
  }

  node(name: string): KubeObject | undefined {
    return this.store.get(nodes(), "", name);
  }

  removeNode(name: string): void {
    this.store.remove(nodes(), "", name);
  }

  /** As somebody else who has the right to. Null removes an annotation. */
  annotate(name: string, annotations: Readonly<Record<string, string | null>>): void {
    const target: Target = { resource: nodes(), namespace: undefined, name, subresource: "" };
    this.#answers.patch(target, "application/merge-patch+json", JSON.stringify({ metadata: { annotations } }));
  }

  /** Changes a node whichever way, as the API's own controllers may. */
  change(name: string, edit: (node: KubeObject) => KubeObject): void {
    const node = this.node(name);
    if (node === undefined) throw new Error(`no node ${name}`);
    this.store.replace(nodes(), edit(structuredClone(node)));
  }

  /** An object of any kind, as `kubectl create` makes it. */
  create(object: KubeObject): void {
    const resource = resourceOf(object.apiVersion, object.kind);
    if (resource === undefined) throw new Error(`the fake has no ${object.apiVersion} ${object.kind}`);
    this.store.create(resource, object);
  }

  /** A cluster role with these rules, bound to a service account. */
  grant(namespace: string, account: string, rules: readonly object[]): void {
    const metadata = { name: `${namespace}-${account}` };
    const apiGroup = "rbac.authorization.k8s.io";
    this.create({ apiVersion: `${apiGroup}/v1`, kind: "ClusterRole", metadata: { ...metadata }, rules });
    this.create({
      apiVersion: `${apiGroup}/v1`,
      kind: "ClusterRoleBinding",
      metadata: { ...metadata },
      roleRef: { apiGroup, kind: "ClusterRole", name: metadata.name },
      subjects: [{ kind: "ServiceAccount", name: account, namespace }],
    });
  }

  /** Closes the port and every connection; what is in the store stays. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Listens on the same port again. */
  async resume(): Promise<void> {
    const { tls, host = "127.0.0.1" } = this.#options;
    const handle = (request: IncomingMessage, response: ServerResponse) => void this.#handle(request, response);
    const server =
      tls === undefined
        ? createServer(handle)
        : createSecureServer(
            {
              cert: tls.cert,
              key: tls.key,
              ...(tls.clientCa !== undefined && { ca: tls.clientCa, requestCert: true, rejectUnauthorized: false }),
            },
            handle,
          );
    server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
      socket.on("error", () => undefined);
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#port, host, resolve);
    });
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** Ends the connections; the port stays open. */
  dropConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on("error", () => undefined);
    const url = new URL(request.url ?? "/", "http://api");
    let call: Call | undefined;
    try {
      const body = await readBody(request);
      const user = actingAs(this.store, this.users.of(request), request);
      const found = request.method === "GET" ? discovery(url.pathname) : undefined;
      if (found !== undefined) return this.#reply(request, response, { code: 200, text: JSON.stringify(found) });
      const target = parsePath(url.pathname);
      const verb = verbOf(request.method ?? "", target, url.searchParams);
      call = this.#record(request, target, verb, user, body);
      const fault = this.faults.take(verb);
      if (fault?.kind === "hang") return;
      if (fault?.kind === "reset") return void request.socket.destroy();
      if (fault?.kind === "status") throw faultStatus(fault);
      const { resource, namespace = "", name = "", subresource } = target;
      authorize(this.store, { user, verb, resource, subresource, namespace, name });
      acceptable(request);
      const asTable = TABLE.test(request.headers.accept ?? "");
      call.status = 200;
      if (verb === "watch") return this.#watch(target, url.searchParams, response, asTable, fault);
      const answer = this.#answer(target, verb, url.searchParams, request.headers["content-type"] ?? "", body);
      call.status = answer.code;
      const table = asTable && answer.objects && tableOf(target.resource, answer.objects, answer.metadata ?? {});
      await this.#reply(request, response, table ? { ...answer, text: JSON.stringify(table) } : answer, fault);
    } catch (error) {
      const status = error instanceof StatusError ? error : new StatusError(500, "InternalError", String(error));
      if (call !== undefined) call.status = status.code;
      for (const [name, value] of Object.entries(status.headers)) response.setHeader(name, value);
      await this.#reply(request, response, { code: status.code, text: JSON.stringify(status.body) });
    }
  }

  #record(request: IncomingMessage, target: Target, verb: string, user: User, body: string): Call {
    const { resource, namespace = "", name = "", subresource } = target;
    const call: Call = {
      time: performance.now(),
      user: user.name,
      identity: user,
      verb,
      resource: `${resource.name}${resource.group && `.${resource.group}`}${subresource && `/${subresource}`}`,
      namespace,
      name,
      url: request.url ?? "",
      contentType: request.headers["content-type"] ?? "",
      body,
      status: 0,
    };
    this.#calls.push(call);
    return call;
  }

  #answer(target: Target, verb: string, query: URLSearchParams, contentType: string, body: string): Answer {
    if (verb === "get") return this.#answers.get(target);
    if (verb === "list") return this.#answers.list(target, query);
    if (verb === "patch") return this.#answers.patch(target, contentType, body);
    if (verb === "delete") return this.#answers.remove(target);
    // As a real one does, it takes a body without any for JSON.
    if (contentType !== "" && !/^application\/json( *;.*)?$/.test(contentType))
      throw new StatusError(415, "UnsupportedMediaType", "the body of the request was in an unknown format");
    return verb === "create" ? this.#answers.create(target, body, query) : this.#answers.update(target, body);
  }

  #watch(target: Target, query: URLSearchParams, response: ServerResponse, asTable: boolean, fault?: Fault): void {
    const { resource, name } = target;
    if (name !== undefined) throw badRequest("this fake watches collections only: use a fieldSelector");
    if (query.get("resourceVersion") !== null && !/^\d*$/.test(query.get("resourceVersion") ?? ""))
      throw new StatusError(400, "BadRequest", "resourceVersion: Invalid value: strconv.ParseUint");
    const selects = selector(query);
    response.writeHead(200, { "Content-Type": "application/json" });
    let left = fault?.kind === "truncate" ? fault.bytes : Number.POSITIVE_INFINITY;
    const write = (line: string) => {
      if (fault?.kind === "nonsense") {
        response.end(fault.text);
        return;
      }
      const bytes = Buffer.from(line);
      if (bytes.length <= left) response.write(bytes);
      else response.write(bytes.subarray(0, left), () => response.socket?.destroy());
      left -= Math.min(bytes.length, left);
    };
    const { bookmarkEvery = 60_000 } = this.#options;
    const { store } = this;
    streamChanges({
      store,
      resource,
      namespace: target.namespace,
      query,
      selects,
      asTable,
      bookmarkEvery,
      write,
      response,
    });
  }

  async #reply(
    request: IncomingMessage,
    response: ServerResponse,
    { code, text }: Answer,
    fault?: Fault,
  ): Promise<void> {
    response.setHeader("Content-Type", "application/json");
    const bytes = Buffer.from(fault?.kind === "nonsense" ? fault.text : `${text}\n`);
    if (fault?.kind === "truncate") {
      response.writeHead(code, { "Content-Length": bytes.length });
      response.write(bytes.subarray(0, fault.bytes), () => response.socket?.destroy());
      return;
    }
    if (fault?.kind === "slow") {
      response.writeHead(code);
      for (let at = 0; at < bytes.length && !response.destroyed; at += fault.bytes) {
        response.write(bytes.subarray(at, at + fault.bytes));
        await new Promise((resolve) => setTimeout(resolve, fault.every));
      }
      response.end();
      return;
    }
    if (bytes.length > WORTH_COMPRESSING && /\bgzip\b/.test(request.headers["accept-encoding"] ?? "")) {
      response.writeHead(code, { "Content-Encoding": "gzip" });
      const gzip = createGzip({ level: zlib.Z_BEST_SPEED });
      gzip.pipe(response);
      gzip.end(bytes);
    } else {
      response.writeHead(code);
      response.end(bytes);
    }
  }
}

function faultStatus({ code, retryAfter }: Extract<Fault, { kind: "status" }>): StatusError {
  const headers = retryAfter === undefined ? {} : { "Retry-After": String(retryAfter) };
  const reasons: Readonly<Record<number, string>> = { 401: "Unauthorized", 403: "Forbidden", 429: "TooManyRequests" };
  return new StatusError(code, reasons[code] ?? "InternalError", "a fault that the test asked for", { headers });
}

/** @throws {StatusError} 406 if the client does not take JSON */
function acceptable({ headers }: IncomingMessage): void {
  const accept = headers.accept ?? "*/*";
  if (/\*\/\*|application\/\*|application\/json/.test(accept)) return;
  throw new StatusError(406, "NotAcceptable", "only the following media types are accepted: application/json");
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}
