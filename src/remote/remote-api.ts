import type { Prefix } from "../ip/prefix.ts";
import type { NetworkName } from "../lease/lease.ts";
import type { LeaseFormat } from "../lease/subnet-manager.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Clock, Milliseconds } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import { failureOf } from "./answers.ts";
import { formatSubnetSegment, UNNAMED } from "./api-json.ts";
import { HEADERS } from "./headers.ts";
import { type HttpAnswer, HttpClient, type HttpRequest } from "./http-client.ts";
import type { RemoteOptions } from "./remote-options.ts";
import { Servers } from "./servers.ts";

/** How long a server is asked to keep us waiting at most: then it is known that it still lives. */
const WATCH_PATIENCE: Milliseconds = 25_000;
/** What it may be late by. */
const LATENESS: Milliseconds = 5_000;
/** A server of 0.7.0 says nothing until something happens. */
const FOREVER = Number.POSITIVE_INFINITY;

/** Requests to flannel servers, and what their answers tell of themselves. */
export class RemoteApi implements Disposable {
  readonly name: string;
  readonly #http: HttpClient;
  readonly #servers: Servers;
  readonly #closed = new AbortController();
  #leaseFormat: LeaseFormat = "0.7";
  #isExtended = false;

  constructor(
    { endpoints, files }: RemoteOptions,
    { clock, logger }: { readonly clock: Clock; readonly logger: Logger },
  ) {
    this.name = `flannel server ${endpoints.join(",")}`;
    this.#http = new HttpClient(files);
    this.#servers = new Servers(endpoints, { http: this.#http, clock, logger });
  }

  /** That of the store behind the server, once it has told. */
  get leaseFormat(): LeaseFormat {
    return this.#leaseFormat;
  }

  /** Whether the server last heard of is one of ours. */
  get isExtended(): boolean {
    return this.#isExtended;
  }

  /** The history of the store behind the servers, as far as any has told: 0.7.0's do not. */
  get store(): string | undefined {
    return this.#servers.store;
  }

  /** @throws what the server told of, by the header or the words it used */
  async ask(request: HttpRequest, options: Abortable, subnet?: Prefix): Promise<HttpAnswer> {
    const answer = await this.#servers.exchange(request, { signal: this.untilClosed(options) });
    const format = answer.headers[HEADERS.format];
    this.#isExtended = format !== undefined;
    if (format === "0.7" || format === "later") this.#leaseFormat = format;
    if (answer.status === 200) return answer;
    throw failureOf(answer, subnet);
  }

  /** Resolves as soon as a server answers, whatever it says. @throws {StoreUnavailableError}, {StoreRefusedError} */
  async reach(network: NetworkName, { signal }: Abortable): Promise<void> {
    await this.#servers.exchange({ method: "GET", path: networkPath(network, "config") }, { signal });
  }

  /** What makes a request one that may take long. */
  waiting(): Pick<HttpRequest, "headers" | "patience"> {
    const headers = { [HEADERS.patience]: String(WATCH_PATIENCE / 1000) };
    return { headers, patience: this.#isExtended ? WATCH_PATIENCE + LATENESS : FOREVER };
  }

  untilClosed({ signal }: Abortable): AbortSignal {
    return AbortSignal.any([signal, this.#closed.signal]);
  }

  [Symbol.dispose](): void {
    this.#closed.abort(new Error(`${this.name} is closed`));
    this.#http[Symbol.dispose]();
  }
}

export function networkPath(network: NetworkName, rest: string): string {
  return `/v1/${network === "" ? UNNAMED : encodeURIComponent(network)}/${rest}`;
}

export function leasePath(network: NetworkName, subnet: Prefix): string {
  return `${networkPath(network, "leases")}/${formatSubnetSegment(subnet)}`;
}
