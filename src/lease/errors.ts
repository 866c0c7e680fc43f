import { formatPrefix, type Prefix } from "../ip/prefix.ts";

/** The store did not answer as it should; transient. `endpoint` says who. */
export class StoreUnavailableError extends Error {
  override readonly name = "StoreUnavailableError";
  readonly code = "store-unavailable";
  readonly endpoint: string;

  constructor(endpoint: string, reason: string, options?: ErrorOptions) {
    super(`${endpoint}: ${reason}`, options);
    this.endpoint = endpoint;
  }
}

/** The store answered and refused: wrong password, no permission, a certificate it does not trust. Asking again without a change does not help. */
export class StoreRefusedError extends Error {
  override readonly name = "StoreRefusedError";
  readonly code = "store-refused";
  readonly endpoint: string;

  constructor(endpoint: string, reason: string, options?: ErrorOptions) {
    super(`${endpoint}: ${reason}`, options);
    this.endpoint = endpoint;
  }
}

/** No config is stored for the network; `key` is where it was looked for. */
export class ConfigNotFoundError extends Error {
  override readonly name = "ConfigNotFoundError";
  readonly code = "config-not-found";
  readonly key: string;

  constructor(key: string, options?: ErrorOptions) {
    super(`no network config at ${key}`, options);
    this.key = key;
  }
}

/** Another host holds the subnet. */
export class LeaseTakenError extends Error {
  override readonly name = "LeaseTakenError";
  readonly code = "lease-taken";
  readonly subnet: Prefix;

  constructor(subnet: Prefix, options?: ErrorOptions) {
    super(`subnet ${formatPrefix(subnet)} is already taken`, options);
    this.subnet = subnet;
  }
}

/** The lease is gone or another wrote it since we read it. */
export class LeaseLostError extends Error {
  override readonly name = "LeaseLostError";
  readonly code = "lease-lost";
  readonly subnet: Prefix;

  constructor(subnet: Prefix, reason: string, options?: ErrorOptions) {
    super(`lease on ${formatPrefix(subnet)} was lost: ${reason}`, options);
    this.subnet = subnet;
  }
}

/** Every subnet that the config allows is leased. */
export class OutOfSubnetsError extends Error {
  override readonly name = "OutOfSubnetsError";
  readonly code = "out-of-subnets";
}

/** A watch asked for changes that the store no longer has, or never had: compacted, cleared, restored or made anew. */
export class HistoryLostError extends Error {
  override readonly name = "HistoryLostError";
  readonly code = "history-lost";
}
