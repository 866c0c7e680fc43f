import {
  bool,
  bytes,
  enumeration,
  int64,
  type Message,
  message,
  optional,
  repeated,
  text,
  uint64,
  type ValueOf,
} from "./protobuf.ts";

/**
 * The part of etcd's v3 API that flannel speaks: names and numbers are those of etcd's api/etcdserverpb/rpc.proto, and what flannel
 * never sends nor reads is left out.
 */

/** On every answer: who gave it, and how far the store's history had come. */
const ResponseHeader = message({ clusterId: [1, uint64], revision: [3, int64] });
export type ResponseHeader = ValueOf<typeof ResponseHeader>;

const KeyValue = message({ key: [1, bytes], modRevision: [3, int64], value: [5, bytes], lease: [6, int64] });
export type KeyValue = ValueOf<typeof KeyValue>;

export const RangeRequest = message({
  key: [1, bytes],
  rangeEnd: [2, bytes],
  limit: [3, int64],
  revision: [4, int64],
  countOnly: [9, bool],
});

const RangeResponse = message({
  header: [1, optional(ResponseHeader)],
  kvs: [2, repeated(optional(KeyValue))],
  more: [3, bool],
});
export type RangeResponse = ValueOf<typeof RangeResponse>;

export const PutRequest = message({ key: [1, bytes], value: [2, bytes], lease: [3, int64], prevKv: [4, bool] });
const PutResponse = message({ prevKv: [2, optional(KeyValue)] });
const DeleteRangeRequest = message({ key: [1, bytes], prevKv: [3, bool] });

const DeleteRangeResponse = message({ prevKvs: [3, repeated(optional(KeyValue))] });

/** Compare.CompareTarget; the comparison itself is EQUAL unless it is given. */
export const COMPARE_MOD_REVISION = 2;

const Compare = message({
  target: [2, enumeration],
  key: [3, bytes],
  modRevision: [6, int64],
  /** Then every key of the range must compare so; a range without keys compares as one key of version 0. Ignored before etcd 3.3. */
  rangeEnd: [64, bytes],
});

/** Exactly one of these. */
const RequestOp = message({
  requestPut: [2, optional(PutRequest)],
  requestDeleteRange: [3, optional(DeleteRangeRequest)],
});

const ResponseOp = message({
  responsePut: [2, optional(PutResponse)],
  responseDeleteRange: [3, optional(DeleteRangeResponse)],
});

export const TxnRequest = message({
  compare: [1, repeated(optional(Compare))],
  success: [2, repeated(optional(RequestOp))],
});

const TxnResponse = message({
  header: [1, optional(ResponseHeader)],
  succeeded: [2, bool],
  responses: [3, repeated(optional(ResponseOp))],
});
export type TxnResponse = ValueOf<typeof TxnResponse>;

/** Event.EventType */
export const EVENT_PUT = 0;

const Event = message({ type: [1, enumeration], kv: [2, optional(KeyValue)] });

export const WatchCreateRequest = message({
  key: [1, bytes],
  rangeEnd: [2, bytes],
  startRevision: [3, int64],
  progressNotify: [4, bool],
});

const WatchRequest = message({ createRequest: [1, optional(WatchCreateRequest)] });

const WatchResponse = message({
  header: [1, optional(ResponseHeader)],
  created: [3, bool],
  canceled: [4, bool],
  compactRevision: [5, int64],
  cancelReason: [6, text],
  events: [11, repeated(optional(Event))],
});
export type WatchResponse = ValueOf<typeof WatchResponse>;

const LeaseGrantRequest = message({ TTL: [1, int64] });
const LeaseGrantResponse = message({ header: [1, optional(ResponseHeader)], ID: [2, int64], TTL: [3, int64] });
export type LeaseGrantResponse = ValueOf<typeof LeaseGrantResponse>;

const LeaseRevokeRequest = message({ ID: [1, int64] });
const LeaseRevokeResponse = message({ header: [1, optional(ResponseHeader)] });

const LeaseTimeToLiveRequest = message({ ID: [1, int64], keys: [2, bool] });
const LeaseTimeToLiveResponse = message({
  header: [1, optional(ResponseHeader)],
  TTL: [3, int64],
  keys: [5, repeated(bytes)],
});
export type LeaseTimeToLiveResponse = ValueOf<typeof LeaseTimeToLiveResponse>;

const AuthenticateRequest = message({ name: [1, text], password: [2, text] });
const AuthenticateResponse = message({ token: [2, text] });

/** What is asked and what is answered; by streams, one or many of each. */
export interface Method<Request, Response> {
  /** `/etcdserverpb.KV/Range` */
  readonly path: string;
  readonly request: Message<unknown, Request>;
  readonly response: Message<Response, never>;
}

function method<Request, Response>(
  name: string,
  request: Message<unknown, Request>,
  response: Message<Response, never>,
): Method<Request, Response> {
  return { path: `/etcdserverpb.${name}`, request, response };
}

export const Rpc = {
  range: method("KV/Range", RangeRequest, RangeResponse),
  txn: method("KV/Txn", TxnRequest, TxnResponse),
  watch: method("Watch/Watch", WatchRequest, WatchResponse),
  leaseGrant: method("Lease/LeaseGrant", LeaseGrantRequest, LeaseGrantResponse),
  leaseRevoke: method("Lease/LeaseRevoke", LeaseRevokeRequest, LeaseRevokeResponse),
  leaseTimeToLive: method("Lease/LeaseTimeToLive", LeaseTimeToLiveRequest, LeaseTimeToLiveResponse),
  authenticate: method("Auth/Authenticate", AuthenticateRequest, AuthenticateResponse),
};
