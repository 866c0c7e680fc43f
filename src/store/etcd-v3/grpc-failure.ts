import { StoreRefusedError, StoreUnavailableError } from "../../lease/errors.ts";
import { isTlsFailure } from "../../lib/tls-source.ts";
import { describeEtcdTlsFailure } from "../etcd/tls.ts";
import { GrpcCode, GrpcStatusError, TransportError } from "./grpc-status.ts";

/** The revision asked for, or the one a listing was pinned to, is no longer in the store's history. */
export class CompactedError extends Error {
  override readonly name = "CompactedError";
}

/** Who answered speaks gRPC, but not etcd's v3 API. */
export class NoV3ApiError extends StoreRefusedError {}

/** Several of etcd's errors share a code; then its text is part of the protocol (rpctypes/error.go). */
const ErrorText = {
  oldAuthRevision: "etcdserver: revision of auth store is old",
  noUser: "etcdserver: user name is empty",
  noSpace: "etcdserver: mvcc: database space exceeded",
} as const;

/** Tokens end with time, with a restart of a member and with a change of users; then etcd wants a new one. */
export function wantsNewToken(error: unknown): boolean {
  if (!(error instanceof GrpcStatusError)) return false;
  const { code, message } = error;
  return (
    code === GrpcCode.unauthenticated ||
    (code === GrpcCode.invalidArgument && (message === ErrorText.oldAuthRevision || message === ErrorText.noUser))
  );
}

/** Whether the server cannot have got the question, and so not done anything. @param error that of a channel */
export function wasNeverSent(error: unknown): boolean {
  return error instanceof TransportError && !error.wasSent;
}

/** What a failed call means for flannel. @param purpose what was being done, `read /coreos.com/network/config` */
export function explainFailure(error: unknown, endpoint: string, purpose: string): Error {
  if (error instanceof GrpcStatusError) return explainStatus(error, endpoint, purpose);
  if (!(error instanceof TransportError)) return error instanceof Error ? error : new Error(String(error));
  return isTlsFailure(error.cause)
    ? new StoreRefusedError(endpoint, `${purpose}: ${describeEtcdTlsFailure(error.cause)}`, { cause: error })
    : new StoreUnavailableError(endpoint, `${purpose}: ${error.message}`, { cause: error });
}

function explainStatus(error: GrpcStatusError, endpoint: string, purpose: string): Error {
  const { code, message } = error;
  const refused = (hint: string) =>
    new StoreRefusedError(endpoint, `${purpose}: ${message} (${hint})`, { cause: error });
  if (code === GrpcCode.outOfRange) return new CompactedError(message);
  if (code === GrpcCode.permissionDenied)
    return refused("the etcd user needs a role that may read and write the prefix");
  if (code === GrpcCode.unauthenticated || code === GrpcCode.invalidArgument)
    return refused("check --etcd-username and --etcd-password");
  if (code === GrpcCode.resourceExhausted && message === ErrorText.noSpace)
    return refused("compact and defragment etcd, then `etcdctl alarm disarm`, or raise its --quota-backend-bytes");
  if (code === GrpcCode.unimplemented) return new NoV3ApiError(endpoint, `${purpose}: ${message}`, { cause: error });
  return new StoreUnavailableError(endpoint, `${purpose}: ${message}`, { cause: error });
}
