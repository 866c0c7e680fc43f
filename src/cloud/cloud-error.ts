/**
 * What went wrong with a cloud's API, as far as it matters to us.
 * conflict: what was there is not what we thought; gone: what was named is not there; credentials: they are not accepted, or there are none;
 * silent: nobody answered in time, where others are unreachable at once.
 */
export type CloudErrorKind =
  | "permission"
  | "quota"
  | "throttled"
  | "credentials"
  | "conflict"
  | "gone"
  | "taken"
  | "unreachable"
  | "silent"
  | "other";

/** Never holds keys, tokens or signed texts. */
export class CloudError extends Error {
  override readonly name = "CloudError";
  readonly code = "cloud";
  readonly kind: CloudErrorKind;

  constructor(kind: CloudErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

export function isCloudError(error: unknown, ...kinds: readonly CloudErrorKind[]): error is CloudError {
  return error instanceof CloudError && kinds.includes(error.kind);
}

/** More of a message from outside is not shown. */
const LONGEST_MESSAGE = 300;

/** A message that a server sent, on one line and not too long. */
export function foreignText(text: string): string {
  const line = text.replace(/[\s\p{Cc}]+/gu, " ").trim();
  return line.length <= LONGEST_MESSAGE ? line : `${line.slice(0, LONGEST_MESSAGE)}…`;
}

/** What to do about a connection that failed, if its error's code says that the server's certificate was not believed. */
export function certificateHint(code: string): string {
  return /CERT|SELF_SIGNED|UNABLE_TO/.test(code) ? " (NODE_EXTRA_CA_CERTS names a file with more authorities)" : "";
}
