import { StoreRefusedError, StoreUnavailableError } from "../../lease/errors.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock, Instant, Milliseconds } from "../../lib/clock.ts";
import { describeError } from "../../lib/errors.ts";
import type { Logger } from "../../lib/logger.ts";

/** What etcd says of itself with every answer: the cluster's id and the number of its last change. */
export interface StoreHeader {
  readonly cluster: string;
  readonly index: bigint;
}

/** `header` must come from a linearizable read or a write; undefined if the answer tells nothing of the history. */
export interface Answer<T> {
  readonly header: StoreHeader | undefined;
  readonly value: T;
}

/** Asks one endpoint. @throws {StoreUnavailableError} or {StoreRefusedError} to have the next one asked, {UncertainWriteError} to have nobody asked */
export type Ask<T> = (endpoint: string, options: Abortable) => Promise<Answer<T>>;

/** A write was sent and no answer came: it may have happened. Only reading back tells. */
export class UncertainWriteError extends Error {
  override readonly name = "UncertainWriteError";
  readonly endpoint: string;

  constructor(failure: StoreUnavailableError) {
    super(failure.message, { cause: failure });
    this.endpoint = failure.endpoint;
  }
}

/** An endpoint that failed is asked after all others for this long. */
const BAD_FOR: Milliseconds = 30_000;
/** How long an older state of our cluster must be all there is before it is believed, though a member that knew better is silent. */
const RESTORE_GRACE: Milliseconds = 30_000;

interface Endpoint {
  readonly url: string;
  badUntil: Instant;
  /** Has told the history we are in since it last failed. */
  verified: boolean;
  /** Has ever told the history we are in. */
  member: boolean;
  /** The reason it was last refused for, so that the log says it once. */
  refusal: string | undefined;
}

interface Stray {
  readonly endpoint: Endpoint;
  readonly header: StoreHeader;
  readonly error: StoreUnavailableError;
}

/**
 * Several addresses of one etcd cluster. Stays with one that answers, goes to the next when it fails, and believes none that tells
 * another history than the others: another cluster, or an older state of ours. When all that answer tell the other history, the
 * store was restored or made anew, and that becomes ours; cursors of the former one no longer fit.
 */
export class Endpoints {
  readonly #endpoints: readonly Endpoint[];
  readonly #clock: Clock;
  readonly #logger: Logger;
  #preferred: Endpoint | undefined;
  #history: StoreHeader | undefined;
  /** How far the history went that was given up last: cursors in it are no news. */
  #former: StoreHeader | undefined;
  #olderSince: Instant | undefined;

  /** @param urls at least one */
  constructor(urls: readonly string[], deps: { readonly clock: Clock; readonly logger: Logger }) {
    this.#endpoints = urls.map((url) => ({
      url,
      badUntil: Number.NEGATIVE_INFINITY,
      verified: false,
      member: false,
      refusal: undefined,
    }));
    this.#clock = deps.clock;
    this.#logger = deps.logger;
  }

  /** The endpoint that would be asked first. */
  get current(): string {
    return this.#order()[0]?.url ?? "";
  }

  /** The last change known of the history we are in, if any endpoint has ever answered. */
  get history(): StoreHeader | undefined {
    return this.#history;
  }

  /**
   * Asks one endpoint after another until one answers and tells our history.
   * @param options.verify for writes: a linearizable read, done first on an endpoint that has not proven to be of our cluster
   * @throws {StoreRefusedError} if only refusals came, {StoreUnavailableError} with every endpoint's reason, whatever else `ask` throws
   */
  async call<T>(ask: Ask<T>, options: Abortable & { readonly verify?: Ask<unknown> }): Promise<T> {
    const { failures, strays, answer } = await this.#round(ask, options);
    if (answer !== undefined) return answer.value;
    if (!this.#adopt(strays)) throw summary(failures, this.#endpoints);
    const again = await this.#round(ask, options);
    if (again.answer !== undefined) return again.answer.value;
    throw summary(again.failures, this.#endpoints);
  }

  /** A change that a watch told of, or a cursor names: an endpoint that has not seen it is of an older state. */
  learned(header: StoreHeader): void {
    const history = this.#history;
    if (history?.cluster !== header.cluster || header.index <= history.index) return;
    const isFormer = this.#former?.cluster === header.cluster && header.index <= this.#former.index;
    if (!isFormer) this.#history = header;
  }

  /** Something that began well on this endpoint failed later: ask another first. */
  failed(url: string, reason: string): void {
    const endpoint = this.#endpoints.find((candidate) => candidate.url === url);
    if (endpoint !== undefined) this.#markBad(endpoint, reason);
  }

  async #round<T>(ask: Ask<T>, { signal, verify }: Abortable & { readonly verify?: Ask<unknown> }) {
    const failures: (StoreUnavailableError | StoreRefusedError)[] = [];
    const strays: Stray[] = [];
    for (const endpoint of this.#order()) {
      try {
        const asking = endpoint.verified || verify === undefined ? [ask] : [verify, ask];
        for (const step of asking) {
          const known = this.#history; // an answer that was overtaken by another one is no older state
          const answer = await step(endpoint.url, { signal });
          const stray = answer.header === undefined ? undefined : this.#admit(endpoint, answer.header, known);
          if (stray !== undefined) {
            strays.push(stray);
            throw stray.error;
          }
          if (step === ask) {
            this.#prefer(endpoint);
            return { failures, strays, answer: answer as Answer<T> };
          }
        }
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof UncertainWriteError) this.#markBad(endpoint, error.message);
        if (!(error instanceof StoreUnavailableError || error instanceof StoreRefusedError)) throw error;
        this.#markBad(endpoint, error.message);
        failures.push(error);
      }
    }
    return { failures, strays, answer: undefined };
  }

  #order(): readonly Endpoint[] {
    const now = this.#clock.now();
    const rank = (endpoint: Endpoint) => (endpoint.badUntil > now ? 2 : endpoint === this.#preferred ? 0 : 1);
    return this.#endpoints.toSorted((a, b) => rank(a) - rank(b));
  }

  #prefer(endpoint: Endpoint): void {
    if (this.#preferred !== undefined && this.#preferred !== endpoint)
      this.#logger.info("another etcd endpoint is used now", { endpoint: endpoint.url, before: this.#preferred.url });
    this.#preferred = endpoint;
    endpoint.badUntil = Number.NEGATIVE_INFINITY;
    endpoint.refusal = undefined;
    this.#olderSince = undefined;
  }

  #markBad(endpoint: Endpoint, reason: string): void {
    endpoint.badUntil = this.#clock.now() + BAD_FOR;
    endpoint.verified = false;
    if (this.#endpoints.length > 1) this.#logger.debug("etcd endpoint failed", { endpoint: endpoint.url, reason });
  }

  #admit(endpoint: Endpoint, header: StoreHeader, known: StoreHeader | undefined): Stray | undefined {
    const history = (this.#history ??= header);
    const reason =
      header.cluster !== history.cluster
        ? `belongs to another etcd cluster (id ${header.cluster}, ours is ${history.cluster}): see --etcd-endpoints`
        : known !== undefined && known.cluster === history.cluster && header.index < known.index
          ? `tells an older state (index ${header.index}) than is known (index ${known.index})`
          : undefined;
    if (reason === undefined) {
      endpoint.verified = true;
      endpoint.member = true;
      if (header.index > history.index) this.#history = header;
      return undefined;
    }
    const kind = header.cluster === history.cluster ? "older" : header.cluster;
    if (endpoint.refusal !== kind && this.#endpoints.length > 1) {
      endpoint.refusal = kind;
      this.#logger.warn("etcd endpoint is not used", { endpoint: endpoint.url, reason });
    }
    return { endpoint, header, error: new StoreUnavailableError(endpoint.url, reason) };
  }

  /** Whether another history is all there is, and so became ours. */
  #adopt(strays: readonly Stray[]): boolean {
    const former = this.#history;
    if (former === undefined || strays.length === 0) return false;
    const older = strays.filter(({ header }) => header.cluster === former.cluster);
    const silent = this.#endpoints.filter(
      (endpoint) => endpoint.member && !strays.some((stray) => stray.endpoint === endpoint),
    );
    if (silent.length > 0 && !this.#believes(older)) return false;
    const headers = (older.length > 0 ? older : strays).map(({ header }) => header);
    const next = headers.reduce((best, header) =>
      header.cluster === best.cluster && header.index > best.index ? header : best,
    );
    this.#logger.warn("etcd was restored or made anew: its history is not the one known so far", {
      cluster: next.cluster,
      index: String(next.index),
      formerCluster: former.cluster,
      formerIndex: String(former.index),
    });
    this.#history = next;
    this.#former = former;
    this.#olderSince = undefined;
    for (const endpoint of this.#endpoints) endpoint.member = endpoint.verified = false;
    return true;
  }

  /** A silent member may come back and know better; an older state is believed only when it has been all there is for a while, another cluster never. */
  #believes(older: readonly Stray[]): boolean {
    if (older.length === 0) return false;
    const now = this.#clock.now();
    this.#olderSince ??= now;
    return now - this.#olderSince >= RESTORE_GRACE;
  }
}

/** One error for all: a refusal counts only if no endpoint may come back by itself and answer. */
function summary(
  failures: readonly (StoreUnavailableError | StoreRefusedError)[],
  endpoints: readonly Endpoint[],
): StoreUnavailableError | StoreRefusedError {
  const mayRecover = (failure: StoreUnavailableError | StoreRefusedError) =>
    failure instanceof StoreUnavailableError &&
    endpoints.some((endpoint) => endpoint.url === failure.endpoint && endpoint.member);
  const refusal = failures.find((failure) => failure instanceof StoreRefusedError);
  const first = refusal !== undefined && !failures.some(mayRecover) ? refusal : failures[0];
  if (first === undefined) return new StoreUnavailableError("etcd", "no endpoint");
  const others = failures.filter((failure) => failure !== first).map(describeError);
  if (others.length === 0) return first;
  const reason = [describeError(first).replace(`${first.endpoint}: `, ""), ...others].join("; ");
  return first instanceof StoreRefusedError
    ? new StoreRefusedError(first.endpoint, reason, { cause: first })
    : new StoreUnavailableError(first.endpoint, reason, { cause: first });
}
