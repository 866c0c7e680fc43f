import { Code, ConnectError } from "@connectrpc/connect";
import { StoreRefusedError, StoreUnavailableError } from "../../lease/errors.ts";

/** The revision asked for, or the one a listing was pinned to, is no longer in the store's history. */
export class CompactedError extends Error {
  override readonly name = "CompactedError";
}

/** Who answered speaks gRPC, but not etcd's v3 API. */
export class NoV3ApiError extends StoreRefusedError {}

/** Whether etcd itself gave this status; without one it is the library's guess at what a connection or a stranger did. */
export function isStatus(error: unknown, code: Code): boolean {
  return error instanceof ConnectError && error.code === code && error.metadata.has("grpc-status");
}

/** Tokens end with time, with a restart of a member and with a change of users; then etcd wants a new one. */
export function wantsNewToken(error: unknown): boolean {
  return (
    isStatus(error, Code.Unauthenticated) ||
    // Texts are part of etcd's protocol (rpctypes/error.go): several errors share this code.
    (isStatus(error, Code.InvalidArgument) && NEEDS_NEW_TOKEN.has(rootMessage(error)))
  );
}

const NEEDS_NEW_TOKEN = new Set(["etcdserver: revision of auth store is old", "etcdserver: user name is empty"]);

/** Failures before a connection stood: nothing was sent, so nothing was written. */
export function wasNeverSent(error: unknown): boolean {
  return errorCodes(error).some((code) => NOT_CONNECTED.has(code)) || isTlsRefusal(error);
}

const NOT_CONNECTED = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH", "ETIMEDOUT"]);

/** What a failed call means for flannel. @param purpose what was being done, `read /coreos.com/network/config` */
export function explainFailure(error: unknown, endpoint: string, purpose: string): Error {
  if (error instanceof StoreRefusedError || error instanceof StoreUnavailableError) return error;
  const root = causes(error).at(-1);
  const options = root instanceof ConnectError ? {} : { cause: root };
  const refused = (reason: string) => new StoreRefusedError(endpoint, `${purpose}: ${reason}`, options);
  const unavailable = (reason: string) => new StoreUnavailableError(endpoint, `${purpose}: ${reason}`, options);
  if (isTlsRefusal(error)) return refused(`${rootMessage(error)}: ${TLS_HINT}`);
  if (!(error instanceof ConnectError)) return unavailable(rootMessage(error));
  const { rawMessage } = error;
  if (isStatus(error, Code.OutOfRange)) return new CompactedError(rawMessage);
  if (isStatus(error, Code.PermissionDenied))
    return refused(`${rawMessage}: the etcd user needs a role with readwrite permission on the prefix`);
  if (isStatus(error, Code.Unauthenticated) || isStatus(error, Code.InvalidArgument))
    return refused(`${rawMessage}: check --etcd-username and --etcd-password`);
  if (isStatus(error, Code.ResourceExhausted) && rawMessage === "etcdserver: mvcc: database space exceeded")
    return refused(
      "etcd's database is full and takes no writes: compact and defragment it, then `etcdctl alarm disarm`, or raise --quota-backend-bytes",
    );
  if (isStatus(error, Code.Unimplemented)) return new NoV3ApiError(endpoint, `${purpose}: ${rawMessage}`);
  if (error.metadata.has("grpc-status")) return unavailable(`${rawMessage} (${Code[error.code]})`);
  return unavailable(error.code === Code.DeadlineExceeded ? "no answer in time" : rootMessage(error));
}

const TLS_HINT = "check --etcd-cafile, --etcd-certfile and --etcd-keyfile, and the names in the server's certificate";

/** Node's codes for a certificate that one side does not take, OpenSSL's X509_V_ERR_* and TLS alerts. */
export function isTlsRefusal(error: unknown): boolean {
  return errorCodes(error).some(
    (code) =>
      /CERT|ALTNAME|UNABLE_TO_(GET_ISSUER|VERIFY)|CA_|SELF_SIGNED/.test(code) ||
      /^ERR_SSL_.*(ALERT|CERTIFICATE|UNKNOWN_CA)/.test(code),
  );
}

function errorCodes(error: unknown): readonly string[] {
  return causes(error).flatMap((cause) => ("code" in cause && typeof cause.code === "string" ? [cause.code] : []));
}

function rootMessage(error: unknown): string {
  const root = causes(error).at(-1);
  return root === undefined
    ? String(error)
    : root instanceof ConnectError
      ? root.rawMessage
      : root.message || (errorCodes(root)[0] ?? root.name);
}

function causes(error: unknown): readonly Error[] {
  const chain: Error[] = [];
  for (let next = error; next instanceof Error && !chain.includes(next); next = next.cause) chain.push(next);
  return chain;
}
