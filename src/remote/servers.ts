import { StoreRefusedError, StoreUnavailableError } from "../lease/errors.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Clock, Instant, Milliseconds } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import { HEADERS } from "./headers.ts";
import type { HttpAnswer, HttpClient, HttpRequest } from "./http-client.ts";

/** A server that failed is asked after all others for this long. */
const BAD_FOR: Milliseconds = 30_000;

interface Server {
  readonly url: string;
  badUntil: Instant;
  /** Has told the history of our store. */
  isMember: boolean;
  /** The store it was last refused for, so that the log says it once. */
  refusedFor: string | undefined;
}

/**
 * Several flannel servers before one store. Stays with one that answers and goes to the next when it fails. One that serves another
 * store than the others is not used: hosts would be given subnets that others have.
 */
export class Servers {
  readonly #servers: readonly Server[];
  readonly #http: HttpClient;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #preferred: Server | undefined;
  #store: string | undefined;

  /** @param urls at least one */
  constructor(
    urls: readonly string[],
    deps: { readonly http: HttpClient; readonly clock: Clock; readonly logger: Logger },
  ) {
    this.#servers = urls.map((url) => ({
      url,
      badUntil: Number.NEGATIVE_INFINITY,
      isMember: false,
      refusedFor: undefined,
    }));
    this.#http = deps.http;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
  }

  /** The history of the store behind the servers, as far as any has told: 0.7.0's do not. */
  get store(): string | undefined {
    return this.#store;
  }

  /**
   * Asks one server after another until one answers, whatever it says.
   * @throws {StoreUnavailableError}, {StoreRefusedError} with every server's reason
   */
  async exchange(request: HttpRequest, { signal }: Abortable): Promise<HttpAnswer> {
    const failures: (StoreUnavailableError | StoreRefusedError)[] = [];
    for (const server of this.#order()) {
      try {
        if (this.#mustProve(server)) this.#admit(server, await this.#http.exchange(server.url, PROOF, { signal }));
        const answer = await this.#http.exchange(server.url, request, { signal });
        this.#admit(server, answer);
        if (isStoreAway(answer)) throw new StoreUnavailableError(server.url, answer.body.trim());
        this.#prefer(server);
        return answer;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof StoreUnavailableError || error instanceof StoreRefusedError)) throw error;
        server.badUntil = this.#clock.now() + BAD_FOR;
        failures.push(error);
      }
    }
    throw summary(failures);
  }

  #order(): readonly Server[] {
    const now = this.#clock.now();
    const rank = (server: Server) => (server.badUntil > now ? 2 : server === this.#preferred ? 0 : 1);
    return this.#servers.toSorted((a, b) => rank(a) - rank(b));
  }

  /** Nothing may be written to a server before it is known what it serves. */
  #mustProve(server: Server): boolean {
    return this.#store !== undefined && !server.isMember && this.#servers.length > 1;
  }

  #prefer(server: Server): void {
    if (this.#preferred !== undefined && this.#preferred !== server)
      this.#logger.info("another flannel server is used now", { server: server.url, before: this.#preferred.url });
    this.#preferred = server;
    server.badUntil = Number.NEGATIVE_INFINITY;
  }

  /** @throws {StoreUnavailableError} if it serves another store */
  #admit(server: Server, { headers }: HttpAnswer): void {
    const store = headers[HEADERS.store];
    if (typeof store !== "string") return;
    this.#store ??= store;
    if (store !== this.#store && !server.isMember && this.#servers.length > 1) {
      const reason = `serves another store (id ${store}, ours is ${this.#store}): see --remote`;
      if (server.refusedFor !== store)
        this.#logger.error("a flannel server is not used", { server: server.url, reason });
      server.refusedFor = store;
      throw new StoreUnavailableError(server.url, reason);
    }
    if (store !== this.#store) {
      // It told us our history before: what has changed is the store.
      for (const each of this.#servers) each.isMember = false;
      this.#store = store;
    }
    server.isMember = true;
    server.refusedFor = undefined;
  }
}

/** Changes nothing, costs next to nothing, and its answer names the store. */
const PROOF: HttpRequest = { method: "GET", path: "/v1/_/config" };

/** The server is well, but not what is behind it: another server may reach it. */
function isStoreAway({ headers }: HttpAnswer): boolean {
  return headers[HEADERS.error] === "store-unavailable";
}

function summary(
  failures: readonly (StoreUnavailableError | StoreRefusedError)[],
): StoreUnavailableError | StoreRefusedError {
  const isRefusal = failures.every((failure) => failure instanceof StoreRefusedError);
  const first = failures[0];
  if (first === undefined) return new StoreUnavailableError("flannel server", "none is named");
  if (failures.length === 1) return first;
  const reason = failures
    .map((failure) => failure.message)
    .join("; ")
    .replace(`${first.endpoint}: `, "");
  return isRefusal
    ? new StoreRefusedError(first.endpoint, reason, { cause: first })
    : new StoreUnavailableError(first.endpoint, reason, { cause: first });
}
