import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";

/** What a flannel 0.7.0 server says, as captured: no revisions, no epochs, no headers of ours, watches that never end by themselves. */
export class ReferenceServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #leases = new Map<string, { attributes: unknown; expiration: string }>();
  readonly #events: { readonly index: number; readonly text: string }[] = [];
  readonly #waiting = new Set<() => void>();
  #index = 5;
  /** Every request: `PUT /v1/_/leases/10.5.46.0-24`. */
  readonly requests: string[] = [];

  private constructor() {
    this.#server = createServer((request, response) => {
      let body = "";
      request.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
      request.once("end", () => this.#answer(request.method ?? "", request.url ?? "", body, response));
    });
  }

  static async start(): Promise<ReferenceServer> {
    const server = new ReferenceServer();
    server.#server.listen(0, "127.0.0.1");
    await once(server.#server, "listening");
    return server;
  }

  get endpoint(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("not listening");
    return `http://127.0.0.1:${address.port}`;
  }

  /** Another host writes. */
  put(subnet: string, attributes: unknown): void {
    const expiration = `2099-11-23T20:32:04.45895${String(this.#index).padStart(4, "0")}Z`;
    this.#leases.set(subnet, { attributes, expiration });
    this.#tell(`{"type":"added","lease":${this.#text(subnet)}}`);
  }

  remove(subnet: string): void {
    this.#leases.delete(subnet);
    const lease = `{"Subnet":"${subnet}","Attrs":{"PublicIP":"0.0.0.0"},"Expiration":"0001-01-01T00:00:00Z"}`;
    this.#tell(`{"type":"removed","lease":${lease}}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  #tell(text: string): void {
    this.#events.push({ index: ++this.#index, text });
    for (const wake of this.#waiting) wake();
  }

  #text(subnet: string): string {
    const lease = this.#leases.get(subnet);
    return JSON.stringify({ Subnet: subnet, Attrs: lease?.attributes, Expiration: lease?.expiration });
  }

  #answer(method: string, url: string, body: string, response: ServerResponse): void {
    this.requests.push(`${method} ${url}`);
    const json = (text: string) =>
      response.setHeader("Content-Type", "application/json; charset=utf-8").end(`${text}\n`);
    const failure = (text: string) =>
      response.writeHead(500, { "Content-Type": "text/plain; charset=utf-8" }).end(text);
    const { pathname, searchParams } = new URL(url, "http://x");
    const next = searchParams.get("next");
    const subnet = /^\/v1\/_\/leases\/(.*)-(\d+)$/.exec(pathname)?.slice(1, 3).join("/");
    if (pathname === "/v1/_/config")
      return void json(
        '{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0","SubnetMax":"10.5.255.0","SubnetLen":24,"Backend":{"Type":"vxlan"}}',
      );
    if (pathname === "/v1/nope/config") return void failure("100: Key not found (/coreos.com/network/nope) [5]");
    if (method === "GET" && next !== null) return this.#watch(Number(next), response);
    if (method === "GET" && subnet !== undefined)
      return void (this.#leases.has(subnet)
        ? json(`{"events":null,"snapshot":[${this.#text(subnet)}],"cursor":"${this.#index}"}`)
        : failure(`100: Key not found (/coreos.com/network/subnets/${subnet.replace("/", "-")}) [${this.#index}]`));
    if (method === "GET")
      return void json(
        `{"events":null,"snapshot":[${[...this.#leases.keys()].map((key) => this.#text(key)).join(",")}],"cursor":"${this.#index}"}`,
      );
    const written = method === "POST" ? "10.5.46.0/24" : subnet;
    if (written === undefined || method === "DELETE") return void response.writeHead(404).end("404 page not found\n");
    const parsed = JSON.parse(body) as { readonly Attrs?: unknown };
    this.put(written, method === "POST" ? parsed : parsed.Attrs); // whoever has it
    json(this.#text(written));
  }

  /** Exactly one event an answer. */
  #watch(next: number, response: ServerResponse): void {
    const attempt = () => {
      const event = this.#events.find(({ index }) => index > next);
      if (event === undefined) return;
      this.#waiting.delete(attempt);
      response
        .setHeader("Content-Type", "application/json; charset=utf-8")
        .end(`{"events":[${event.text}],"snapshot":null,"cursor":"${event.index}"}\n`);
    };
    this.#waiting.add(attempt);
    response.once("close", () => this.#waiting.delete(attempt));
    attempt();
  }
}
