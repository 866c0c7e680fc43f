import { StoreUnavailableError } from "../../lease/errors.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Logger } from "../../lib/logger.ts";
import { type Ask, Endpoints, type StoreHeader, UncertainWriteError } from "../etcd/endpoints.ts";
import type { EtcdOptions } from "../etcd/options.ts";
import { Connections } from "./connections.ts";
import { explainFailure, wantsNewToken, wasNeverSent } from "./grpc-failure.ts";
import type { KeyRange } from "./keyspace.ts";
import type { GivenOf } from "./protobuf.ts";
import {
  type LeaseGrantResponse,
  type LeaseTimeToLiveResponse,
  type Method,
  type RangeRequest,
  type RangeResponse,
  type ResponseHeader,
  Rpc,
  type TxnRequest,
  type TxnResponse,
  type WatchCreateRequest,
  type WatchResponse,
} from "./rpc.ts";
import { Tokens } from "./tokens.ts";

/** A member without a leader shall say so at once instead of waiting for one. */
const REQUIRE_LEADER = { hasleader: "true" };

export interface Purpose extends Abortable {
  /** For messages: `read /coreos.com/network/config`. */
  readonly purpose: string;
}

export interface EtcdV3Deps {
  readonly clock: Clock;
  readonly logger: Logger;
}

interface OpenWatch {
  readonly endpoint: string;
  readonly responses: AsyncGenerator<WatchResponse, void>;
  readonly created: WatchResponse;
}

/** The calls of etcd's v3 API that flannel needs, on whichever endpoint answers, with a user's token if there is one. */
export class EtcdV3Client {
  readonly #options: EtcdOptions;
  readonly #endpoints: Endpoints;
  readonly #connections: Connections;
  readonly #tokens: Tokens;

  constructor(options: EtcdOptions, { clock, logger }: EtcdV3Deps) {
    this.#options = options;
    this.#endpoints = new Endpoints(options.endpoints, { clock, logger });
    this.#connections = new Connections(options.files, clock);
    this.#tokens = new Tokens(logger);
  }

  /** Linearizable. @throws {CompactedError} if it asks for a revision that is no longer there */
  async range(request: GivenOf<typeof RangeRequest>, purpose: Purpose): Promise<RangeResponse> {
    return await this.#endpoints.call(this.#asking(Rpc.range, request, purpose), purpose);
  }

  /** @throws {UncertainWriteError} if it may have happened, though no answer came */
  async txn(request: GivenOf<typeof TxnRequest>, purpose: Purpose): Promise<TxnResponse> {
    const ask = this.#asking(Rpc.txn, request, purpose);
    const write: Ask<TxnResponse> = async (endpoint, options) => {
      try {
        return await ask(endpoint, options);
      } catch (error) {
        throw error instanceof StoreUnavailableError && !wasNeverSent(error.cause)
          ? new UncertainWriteError(error)
          : error;
      }
    };
    return await this.#endpoints.call(write, { signal: purpose.signal, verify: this.#verify });
  }

  /** A lease in etcd's sense: keys put with its id vanish when it ends. @param seconds etcd may give more */
  async grantLease(seconds: number, purpose: Purpose): Promise<LeaseGrantResponse> {
    const ask = this.#asking(Rpc.leaseGrant, { TTL: BigInt(seconds) }, purpose);
    return await this.#endpoints.call(ask, { signal: purpose.signal, verify: this.#verify });
  }

  /** TTL is -1 if there is no such lease. The header may be that of a member that lags. */
  async leaseTimeToLive(id: bigint, options: Purpose & { readonly keys: boolean }): Promise<LeaseTimeToLiveResponse> {
    const ask = this.#asking(Rpc.leaseTimeToLive, { ID: id, keys: options.keys }, options);
    return await this.#endpoints.call(withoutHeader(ask), options);
  }

  async revokeLease(id: bigint, purpose: Purpose): Promise<void> {
    await this.#endpoints.call(withoutHeader(this.#asking(Rpc.leaseRevoke, { ID: id }, purpose)), purpose);
  }

  /**
   * The answers of one watch, first the one that tells that it stands. Never ends but by an error.
   * @throws {StoreUnavailableError} when the connection is lost or silent, or the cluster has lost its leader
   */
  async *watch(
    request: GivenOf<typeof WatchCreateRequest>,
    { signal, purpose }: Purpose,
  ): AsyncGenerator<WatchResponse, never> {
    const open: Ask<OpenWatch> = async (endpoint, options) => ({
      header: undefined, // that of a watch may be of a member that lags
      value: await this.#openWatch(endpoint, request, { ...options, purpose }),
    });
    const { endpoint, responses, created } = await this.#endpoints.call(open, { signal, verify: this.#verify });
    try {
      yield created;
      for await (const response of responses) yield response;
      throw new StoreUnavailableError(endpoint, `${purpose}: the stream was ended`);
    } catch (error) {
      signal.throwIfAborted();
      const failure = explainFailure(error, endpoint, purpose);
      this.#endpoints.failed(endpoint, failure.message);
      throw failure;
    } finally {
      await responses.return();
    }
  }

  close(): void {
    this.#connections.close();
  }

  /** Shows the cluster's id and history. */
  readonly #verify: Ask<unknown> = (endpoint, options) => {
    const request = { key: encode(this.#options.prefix), countOnly: true };
    return this.#asking(Rpc.range, request, { ...options, purpose: "read" })(endpoint, options);
  };

  #asking<Request, Response>(method: Method<Request, Response>, request: Request, { purpose }: Purpose): Ask<Response> {
    return async (endpoint, { signal }) => {
      const value = await this.#withToken(endpoint, { signal, purpose }, async (headers) => {
        return await this.#connections.to(endpoint).unary(method, request, { headers, signal });
      });
      const { header } = value as { readonly header?: ResponseHeader };
      return { header: header === undefined ? undefined : storeHeader(header), value };
    };
  }

  async #openWatch(
    endpoint: string,
    request: GivenOf<typeof WatchCreateRequest>,
    { signal, purpose }: Purpose,
  ): Promise<OpenWatch> {
    return await this.#withToken(endpoint, { signal, purpose }, async (headers) => {
      const question = { createRequest: request };
      const responses = this.#connections.to(endpoint).stream(Rpc.watch, question, { headers, signal });
      const first = await responses.next();
      if (first.done === true) throw new StoreUnavailableError(endpoint, `${purpose}: the stream was ended at once`);
      return { endpoint, responses, created: first.value };
    });
  }

  /** Runs a call, a second time if etcd no longer takes the token. */
  async #withToken<T>(
    endpoint: string,
    { signal, purpose }: Purpose,
    call: (headers: Readonly<Record<string, string>>) => Promise<T>,
  ): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      let token: string | undefined;
      try {
        token = await this.#token(endpoint, { signal });
        return await call(token === undefined ? REQUIRE_LEADER : { ...REQUIRE_LEADER, token });
      } catch (error) {
        signal.throwIfAborted();
        if (this.#options.credentials === undefined || !wantsNewToken(error) || attempt > 1)
          throw explainFailure(error, endpoint, purpose);
        this.#tokens.drop(token);
      }
    }
  }

  async #token(endpoint: string, options: Abortable): Promise<string | undefined> {
    const { credentials } = this.#options;
    if (credentials === undefined) return undefined;
    return await this.#tokens.get(async ({ signal }) => {
      const request = { name: credentials.username, password: credentials.password };
      const channel = this.#connections.to(endpoint);
      return (await channel.unary(Rpc.authenticate, request, { headers: REQUIRE_LEADER, signal })).token;
    }, options);
  }
}

function withoutHeader<T>(ask: Ask<T>): Ask<T> {
  return async (endpoint, options) => ({ header: undefined, value: (await ask(endpoint, options)).value });
}

/** etcd's numbers as the store's header; the cluster's id in hex, as etcd itself shows it. */
export function storeHeader(header: ResponseHeader): StoreHeader {
  return { cluster: header.clusterId.toString(16), index: header.revision };
}

const encoder = new TextEncoder();

export function encode(text: string): Uint8Array {
  return encoder.encode(text);
}

export function encodeRange({ first, end }: KeyRange): { readonly key: Uint8Array; readonly rangeEnd: Uint8Array } {
  return { key: encode(first), rangeEnd: encode(end) };
}

const decoder = new TextDecoder();

export function decode(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}
