/** The gRPC status codes that mean something to us. https://github.com/grpc/grpc/blob/master/doc/statuscodes.md */
export const GrpcCode = {
  invalidArgument: 3,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  outOfRange: 11,
  unimplemented: 12,
  unauthenticated: 16,
} as const;

/** What a server said by gRPC itself: it understood, and did not do it. */
export class GrpcStatusError extends Error {
  override readonly name = "GrpcStatusError";
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** There was no connection, it broke, or who answered does not speak gRPC. `wasSent`: the server may have got the question. */
export class TransportError extends Error {
  override readonly name = "TransportError";
  readonly wasSent: boolean;

  constructor(reason: string, options: ErrorOptions & { readonly wasSent: boolean }) {
    super(reason, options);
    this.wasSent = options.wasSent;
  }

  static from(cause: unknown, wasSent: boolean): GrpcStatusError | TransportError {
    if (cause instanceof GrpcStatusError || cause instanceof TransportError) return cause;
    const root = rootOf(cause);
    return new TransportError(root.message || ("code" in root ? String(root.code) : root.name), {
      cause: root,
      wasSent,
    });
  }
}

/** Names in lower case. */
export type Headers = Readonly<Record<string, string | number | string[] | undefined>>;

/** @throws {TransportError} if these are not the headers of a gRPC answer */
export function checkResponse(headers: Headers): void {
  const { ":status": status, "content-type": type } = headers;
  if (status !== 200 || typeof type !== "string" || !type.startsWith("application/grpc"))
    throw new TransportError(`not gRPC but HTTP status ${String(status)} with ${String(type ?? "no content type")}`, {
      wasSent: true,
    });
}

/** The error that the end of an answer tells, undefined if all went well. @param trailers undefined if there were none */
export function statusOf(trailers: Headers | undefined): GrpcStatusError | TransportError | undefined {
  const status = trailers?.["grpc-status"];
  if (status === "0") return undefined;
  if (typeof status !== "string" || !/^\d+$/.test(status))
    return new TransportError("the answer was cut off", { wasSent: true });
  const message = trailers?.["grpc-message"];
  return new GrpcStatusError(Number(status), typeof message === "string" ? decodeMessage(message) : `status ${status}`);
}

/** Percent-encoded UTF-8; what is wrong in it is shown as it came. */
function decodeMessage(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Node wraps what happened to a socket in what that meant for its session and its streams. */
function rootOf(error: unknown): Error {
  let root = error instanceof Error ? error : new Error(String(error));
  for (let depth = 0; depth < 10 && root.cause instanceof Error; depth++) root = root.cause;
  return root;
}
