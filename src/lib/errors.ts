/** Input that a person wrote and must correct; `path` names the field, as in `Backend.VNI` or `--iface`. */
export class InvalidConfigError extends Error {
  override readonly name = "InvalidConfigError";
  readonly code = "invalid-config";
  readonly path: string;

  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(path === "" ? reason : `${path}: ${reason}`, options);
    this.path = path;
  }
}

/** Something this host, kernel or store cannot do; `hint` says what would help. */
export class UnsupportedError extends Error {
  override readonly name = "UnsupportedError";
  readonly code = "unsupported";
  readonly feature: string;
  readonly hint: string | undefined;

  constructor(feature: string, reason: string, hint?: string, options?: ErrorOptions) {
    super(hint === undefined ? reason : `${reason} (${hint})`, options);
    this.feature = feature;
    this.hint = hint;
  }
}

/** The message of whatever was thrown, with the messages of its causes that add something. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.cause === undefined) return error.message;
  const cause = describeError(error.cause);
  return error.message.includes(cause) ? error.message : `${error.message}: ${cause}`;
}

/** Whether `error` is nothing but this signal's request to stop, which nobody logs or wraps. */
export function isAbort(error: unknown, signal: AbortSignal): boolean {
  return signal.aborted && (error === signal.reason || (error instanceof Error && error.name === "AbortError"));
}

/** Whether the other side ended the connection without a word; Node says so also where that was in good order. */
export function isReset(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ECONNRESET" || error.code === "EPIPE");
}
