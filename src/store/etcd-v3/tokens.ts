import type { Abortable } from "../../lib/abortable.ts";
import type { Logger } from "../../lib/logger.ts";
import { GrpcCode, GrpcStatusError } from "./grpc-status.ts";

/** Fetches a token for the user and password. */
export type Authenticate = (options: Abortable) => Promise<string>;

/** The token that goes with every call if etcd wants users to prove themselves; fetched when first needed, shared by all calls. */
export class Tokens {
  readonly #logger: Logger;
  #token: string | undefined;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Undefined if etcd has authentication switched off. @throws what `authenticate` throws */
  async get(authenticate: Authenticate, { signal }: Abortable): Promise<string | undefined> {
    if (this.#token === undefined) this.#token = await this.#fetch(authenticate, signal);
    return this.#token === "" ? undefined : this.#token;
  }

  /** etcd no longer takes the token: the next call fetches another. */
  drop(token: string | undefined): void {
    if ((this.#token || undefined) === token) this.#token = undefined;
  }

  async #fetch(authenticate: Authenticate, signal: AbortSignal): Promise<string> {
    try {
      return await authenticate({ signal });
    } catch (error) {
      if (!(error instanceof GrpcStatusError && error.code === GrpcCode.failedPrecondition)) throw error;
      this.#logger.info("etcd has authentication switched off: user and password are not used");
      return "";
    }
  }
}
