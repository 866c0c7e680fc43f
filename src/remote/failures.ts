import type { Prefix } from "../ip/prefix.ts";
import { ConfigNotFoundError, LeaseLostError, LeaseTakenError, OutOfSubnetsError } from "../lease/errors.ts";
import type { NetworkName } from "../lease/lease.ts";
import type { Abortable } from "../lib/abortable.ts";
import { describeError, InvalidConfigError } from "../lib/errors.ts";
import { formatSubnetSegment } from "./api-json.ts";
import { CursorSyntaxError } from "./cursor-text.ts";
import { errorReply, type Failure, type Reply } from "./reply.ts";
import { type ApiRequest, networkOf } from "./request.ts";
import { RequestError } from "./request-error.ts";
import type { LeaseBook } from "./served-store.ts";

/** What clients are told of a failure, in 0.7.0's words where it has any. */
export class Failures {
  readonly #book: LeaseBook;
  readonly #keyPrefix: string;

  /** @param keyPrefix what keys in the store begin with, for messages that 0.7.0's clients know */
  constructor(book: LeaseBook, keyPrefix: string) {
    this.#book = book;
    this.#keyPrefix = keyPrefix;
  }

  async explain(error: unknown, request: ApiRequest): Promise<Failure> {
    if (error instanceof RequestError) return { status: error.status, text: error.message, code: error.code };
    if (error instanceof CursorSyntaxError) return { status: 500, text: error.message };
    if (error instanceof ConfigNotFoundError) {
      const network = networkOf(request);
      const key = network === "" ? `${this.#keyPrefix}/config` : `${this.#keyPrefix}/${network}`;
      const { cursor } = await this.#book.listLeases(network, request);
      return { status: 500, text: keyNotFound(key, cursor.index), code: error.code };
    }
    if (error instanceof LeaseTakenError) return { status: 500, text: taken().message, code: error.code };
    if (error instanceof LeaseLostError) return { status: 412, text: error.message, code: error.code };
    if (error instanceof OutOfSubnetsError) return { status: 500, text: error.message, code: error.code };
    if (error instanceof InvalidConfigError)
      return { status: 500, text: error.message, code: error.code, field: error.path };
    const code = error instanceof Error && "code" in error ? String(error.code) : undefined;
    return { status: 500, text: describeError(error), code };
  }

  /** The answer to a request that failed. */
  async reply(error: unknown, request: ApiRequest): Promise<Reply> {
    return errorReply(await this.explain(error, request));
  }

  /** There is no such lease, as 0.7.0 says it: with the store's present index. */
  async missingLease(network: NetworkName, subnet: Prefix, options: Abortable): Promise<RequestError> {
    const { cursor } = await this.#book.listLeases(network, options);
    return this.missingLeaseAt(network, subnet, cursor.index);
  }

  missingLeaseAt(network: NetworkName, subnet: Prefix, index: bigint): RequestError {
    const home = network === "" ? this.#keyPrefix : `${this.#keyPrefix}/${network}`;
    return new RequestError(500, keyNotFound(`${home}/subnets/${formatSubnetSegment(subnet)}`, index), "lease-lost");
  }
}

/** Final, unlike what the store says of a race. */
export function taken(): RequestError {
  return new RequestError(500, "subnet: lease already taken", "lease-taken");
}

export function lost(reason: string): RequestError {
  return new RequestError(412, reason, "lease-lost");
}

function keyNotFound(key: string, index: bigint): string {
  return `100: Key not found (${key}) [${index}]`;
}
