import type { Agent } from "node:http";
import type { checkServerIdentity } from "node:tls";
import type { Abortable } from "../../lib/abortable.ts";

/** Where the API server is, and how to be let in. */
export interface ApiAccess {
  /** Without a slash at its end: `https://10.96.0.1:443`. */
  readonly server: string;
  /** Another cluster has another name here: what a store's cursors are compared by. */
  readonly cluster: string;
  /** What the next call needs. Files are read again if they were changed. @throws {StoreRefusedError} if something cannot be had */
  connection(options: Abortable): Promise<Connection>;
  /** The server did not accept our credentials: forget what was remembered of them. */
  refresh(): void;
}

export interface Connection {
  /** Several values are sent as so many headers. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly tls: TlsOptions;
  /** Instead of our own, where there is a proxy. */
  readonly agent?: Agent;
}

/** Of node:tls. */
export interface TlsOptions {
  readonly ca?: Buffer | string;
  readonly cert?: Buffer | string;
  readonly key?: Buffer | string;
  readonly rejectUnauthorized?: boolean;
  readonly servername?: string;
  /** What is wrong with the server's certificate, in place of Node's own comparison with its name. */
  readonly checkServerIdentity?: typeof checkServerIdentity;
}
