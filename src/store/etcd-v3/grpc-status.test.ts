import { describe, expect, test } from "vitest";
import { StoreRefusedError, StoreUnavailableError } from "../../lease/errors.ts";
import { CompactedError, explainFailure, NoV3ApiError, wantsNewToken, wasNeverSent } from "./grpc-failure.ts";
import { checkResponse, GrpcCode, GrpcStatusError, statusOf, TransportError } from "./grpc-status.ts";

const grpc = { ":status": 200, "content-type": "application/grpc" };

describe("checkResponse()", () => {
  test("takes gRPC, with or without the message format's name", () => {
    for (const type of ["application/grpc", "application/grpc+proto"])
      expect(checkResponse({ ...grpc, "content-type": type })).toBeUndefined();
  });

  test.each([
    [{ ...grpc, ":status": 404 }, /HTTP status 404 with application\/grpc/],
    [{ ...grpc, "content-type": "text/html; charset=utf-8" }, /HTTP status 200 with text\/html/],
    [{ ":status": 200 }, /no content type/],
  ])("throws TransportError for %j", (headers, reason) => {
    expect(() => checkResponse(headers)).toThrow(reason);
    expect(() => checkResponse(headers)).toThrow(TransportError);
  });
});

describe("statusOf()", () => {
  test("is undefined if all went well", () => expect(statusOf({ "grpc-status": "0" })).toBeUndefined());

  test("is the server's status and its percent-encoded message", () => {
    const status = statusOf({ "grpc-status": "7", "grpc-message": "caf%C3%A9 100%25" });
    expect(status).toBeInstanceOf(GrpcStatusError);
    expect(status).toMatchObject({ code: 7, message: "café 100%" });
    expect(statusOf({ "grpc-status": "7", "grpc-message": "100%" })).toMatchObject({ message: "100%" });
    expect(statusOf({ "grpc-status": "7" })).toMatchObject({ message: "status 7" });
  });

  test.each([undefined, {}, { "grpc-status": "ok" }, { "grpc-status": "" }])("is TransportError for %j", (trailers) => {
    expect(statusOf(trailers)).toBeInstanceOf(TransportError);
  });
});

describe("TransportError.from()", () => {
  test("tells the reason at the bottom, by its code if it has no message", () => {
    const refused = Object.assign(new AggregateError([]), { code: "ECONNREFUSED" });
    const wrapped = new Error("The pending stream has been canceled", { cause: refused });
    expect(TransportError.from(wrapped, false)).toMatchObject({ message: "ECONNREFUSED", cause: refused });
  });

  test("leaves what is known already as it is", () => {
    const status = new GrpcStatusError(7, "no");
    expect(TransportError.from(status, true)).toBe(status);
  });
});

describe("explainFailure()", () => {
  const explain = (error: unknown) => explainFailure(error, "http://a:2379", "read /x/config");

  test.each([
    [
      new TransportError("connect ECONNREFUSED", { wasSent: false }),
      StoreUnavailableError,
      /^http:\/\/a:2379: read \/x\/config: connect ECONNREFUSED$/,
    ],
    [new GrpcStatusError(14, "etcdserver: no leader"), StoreUnavailableError, /no leader/],
    [
      new GrpcStatusError(GrpcCode.resourceExhausted, "etcdserver: too many requests"),
      StoreUnavailableError,
      /too many/,
    ],
    [
      new GrpcStatusError(GrpcCode.resourceExhausted, "etcdserver: mvcc: database space exceeded"),
      StoreRefusedError,
      /defragment/,
    ],
    [new GrpcStatusError(GrpcCode.permissionDenied, "etcdserver: permission denied"), StoreRefusedError, /role/],
    [
      new GrpcStatusError(GrpcCode.unauthenticated, "etcdserver: invalid auth token"),
      StoreRefusedError,
      /--etcd-password/,
    ],
    [new GrpcStatusError(GrpcCode.unimplemented, "unknown service"), NoV3ApiError, /unknown service/],
    [
      new GrpcStatusError(GrpcCode.outOfRange, "etcdserver: mvcc: required revision has been compacted"),
      CompactedError,
      /compacted/,
    ],
    [
      new TransportError("self-signed", {
        wasSent: false,
        cause: Object.assign(new Error("self-signed"), { code: "DEPTH_ZERO_SELF_SIGNED_CERT" }),
      }),
      StoreRefusedError,
      /self-signed.*--etcd-cafile/,
    ],
  ])("of %s", (error, kind, message) => {
    expect(explain(error)).toBeInstanceOf(kind);
    expect(explain(error).message).toMatch(message);
  });

  test("leaves a bug as it is", () => {
    const bug = new TypeError("x is undefined");
    expect(explain(bug)).toBe(bug);
  });
});

test("wantsNewToken() of etcd's ways to say so, and of no other refusal", () => {
  for (const message of ["etcdserver: revision of auth store is old", "etcdserver: user name is empty"])
    expect(wantsNewToken(new GrpcStatusError(GrpcCode.invalidArgument, message))).toBe(true);
  expect(wantsNewToken(new GrpcStatusError(GrpcCode.unauthenticated, "etcdserver: invalid auth token"))).toBe(true);
  const wrong = "etcdserver: authentication failed, invalid user ID or password";
  expect(wantsNewToken(new GrpcStatusError(GrpcCode.invalidArgument, wrong))).toBe(false);
});

test("wasNeverSent() only of what no connection could carry", () => {
  expect(wasNeverSent(new TransportError("refused", { wasSent: false }))).toBe(true);
  expect(wasNeverSent(new TransportError("cut off", { wasSent: true }))).toBe(false);
  expect(wasNeverSent(new GrpcStatusError(14, "etcdserver: request timed out"))).toBe(false);
});
