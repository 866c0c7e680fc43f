import { StoreRefusedError, StoreUnavailableError } from "../../lease/errors.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { type Answer, type StoreHeader, UncertainWriteError } from "../etcd/endpoints.ts";
import { type HttpAnswer, type HttpClient, type HttpConnection, type HttpRequest, HttpStream } from "./http-client.ts";

/** A node of etcd's v2 tree, as JSON has it: a key, or a directory with `nodes`. */
export interface KeyNode {
  /** Absolute. */
  readonly key: string;
  readonly value?: string;
  readonly dir?: boolean;
  readonly nodes?: readonly KeyNode[];
  /** Seconds left, rounded up; absent if it stays for ever. */
  readonly ttl?: number;
  /** When it ends, by the server's clock. */
  readonly expiration?: string;
  readonly modifiedIndex: number;
}

export interface KeyEvent {
  readonly action: string;
  readonly node: KeyNode;
}

/** etcd understood and did not do it; `code` is one of EtcdErrorCode or of the others in etcd's errorcode.md. */
export interface KeyRefusal {
  readonly code: number;
  readonly message: string;
  readonly cause: string;
}

/** The codes that mean something to us. */
export const EtcdErrorCode = { keyNotFound: 100, compareFailed: 101, keyExists: 105, eventIndexCleared: 401 } as const;

/** Either the node, as it is now (or was, if it was deleted), or why not. */
export type KeyAnswer =
  | { readonly node: KeyNode; readonly refusal?: undefined; readonly header: StoreHeader; readonly serverTime: number }
  | { readonly node?: undefined; readonly refusal: KeyRefusal; readonly header: StoreHeader };

/** Exactly one condition: etcd's v2 API writes without one, too, but flannel never does. */
export type KeyCondition = { readonly prevExist: false } | { readonly prevIndex: bigint };

export interface KeyWrite {
  readonly key: string;
  readonly condition: KeyCondition;
  /** Absent deletes the key. */
  readonly value?: string;
  /** Seconds; absent keeps it for ever. */
  readonly ttl?: number;
}

/** A watch's answer has begun. `stream` is undefined if the history no longer reaches back. */
export interface KeyWatch {
  /** By the endpoint's own state, which may be a moment behind the cluster's. */
  readonly header: StoreHeader;
  readonly stream: HttpStream | undefined;
  readonly serverTime: number;
}

/** The server has no v2 keys API: etcd from 3.4 on serves it only with `--enable-v2`. */
export class EtcdV2DisabledError extends StoreRefusedError {}

/** etcd's v2 keys API, one request at a time: what is asked and answered, byte for byte. */
export class KeysApi {
  readonly #http: HttpClient;

  constructor(http: HttpClient) {
    this.#http = http;
  }

  /** A linearizable read. */
  async get(endpoint: string, key: string, options: Abortable & { recursive?: boolean }): Promise<Answer<KeyAnswer>> {
    const path = `${keyPath(key)}?quorum=true&recursive=${options.recursive ?? false}&sorted=false`;
    const value = decodeAnswer(endpoint, await this.#http.exchange(endpoint, { method: "GET", path }, options));
    if (value.refusal !== undefined && value.refusal.code !== EtcdErrorCode.keyNotFound)
      throw explainRefusal(endpoint, value.refusal);
    return { header: value.header, value };
  }

  /** @throws {UncertainWriteError} if it may have happened */
  async write(endpoint: string, write: KeyWrite, options: Abortable): Promise<Answer<KeyAnswer>> {
    const answer = await this.#http.exchange(endpoint, writeRequest(write), options);
    let value: KeyAnswer;
    try {
      value = decodeAnswer(endpoint, answer);
    } catch (error) {
      throw error instanceof StoreUnavailableError ? new UncertainWriteError(error) : error;
    }
    if (value.refusal !== undefined && !isConditionFailure(value.refusal)) {
      const failure = explainRefusal(endpoint, value.refusal);
      throw failure instanceof StoreUnavailableError ? new UncertainWriteError(failure) : failure;
    }
    return { header: value.header, value };
  }

  /**
   * Waits for changes below `key` from the one numbered `from` on. Resolves as soon as the endpoint has begun to answer.
   * @param options.streaming all changes in one answer, but only if none of them has happened yet: of the changes in its history
   * etcd sends only the first and then nothing more. Without, the answer ends after the first change.
   */
  async watch(
    endpoint: string,
    key: string,
    from: bigint,
    options: Abortable & { readonly connection: HttpConnection; readonly streaming: boolean },
  ): Promise<KeyWatch> {
    const query = `recursive=true${options.streaming ? "&stream=true" : ""}&wait=true&waitIndex=${from}`;
    const answer = await this.#http.open(endpoint, `${keyPath(key)}?${query}`, options.connection, options);
    if (answer instanceof HttpStream) {
      if (isJson(answer))
        return { header: headerOf(endpoint, answer), stream: answer, serverTime: serverTimeOf(answer) };
      answer[Symbol.dispose]();
      throw strange(endpoint, { status: 200, headers: answer.headers, body: "" });
    }
    const { refusal, header } = decodeAnswer(endpoint, answer);
    if (refusal?.code === EtcdErrorCode.eventIndexCleared)
      return { header, stream: undefined, serverTime: serverTimeOf(answer) };
    throw refusal === undefined ? strange(endpoint, answer) : explainRefusal(endpoint, refusal);
  }

  /** What the endpoint itself knows, without asking the cluster: next to nothing to it, since nothing is written or sent on. */
  async localHeader(endpoint: string, key: string, options: Abortable): Promise<StoreHeader> {
    const path = `${keyPath(key)}?quorum=false&recursive=false&sorted=false`;
    return decodeAnswer(endpoint, await this.#http.exchange(endpoint, { method: "GET", path }, options)).header;
  }

  /** Whether the endpoint has no leader, and so would never hear of a change. False if it does not tell. */
  async isLeaderless(endpoint: string, options: Abortable): Promise<boolean> {
    const { body } = await this.#http.exchange(endpoint, { method: "GET", path: "/v2/stats/self" }, options);
    return /"leaderInfo":\{"leader":"0?"/.test(body);
  }
}

/** Each segment encoded, with what Go leaves as it is. */
function keyPath(key: string): string {
  const segments = key
    .split("/")
    .map((segment) => encodeURIComponent(segment).replace(/%(24|26|2B|2C|3A|3B|3D|40)/g, decodeURIComponent));
  return `/v2/keys${segments.join("/")}`;
}

function writeRequest({ key, condition, value, ttl }: KeyWrite): HttpRequest {
  const [name, expected] = Object.entries(condition)[0] ?? [];
  const path = `${keyPath(key)}?${name}=${expected}`;
  if (value === undefined) return { method: "DELETE", path };
  const form = new URLSearchParams([...(ttl === undefined ? [] : [["ttl", String(ttl)]]), ["value", value]]);
  return { method: "PUT", path, body: form.toString() };
}

/** @throws {StoreUnavailableError} if it is not etcd's JSON, {StoreRefusedError} */
function decodeAnswer(endpoint: string, answer: HttpAnswer): KeyAnswer {
  if (answer.status === 404 && answer.body.trim() === "404 page not found")
    throw new EtcdV2DisabledError(
      endpoint,
      "this etcd does not serve the v2 API (start it with --enable-v2, or use --etcd-api=3)",
    );
  const json = isJson(answer) ? tryParse(answer.body) : undefined;
  if (answer.status === 401 || answer.status === 403) throw unauthorized(endpoint, json, answer);
  if (isRecord(json) && typeof json["errorCode"] === "number") {
    const { errorCode: code, message, cause } = json;
    const refusal = { code, message: textOf(message), cause: textOf(cause) };
    if (answer.headers["x-etcd-cluster-id"] === undefined) throw explainRefusal(endpoint, refusal);
    return { refusal, header: headerOf(endpoint, answer) };
  }
  if (answer.status >= 300 || !isRecord(json) || !isKeyNode(json["node"])) throw strange(endpoint, answer);
  return { node: json["node"], header: headerOf(endpoint, answer), serverTime: serverTimeOf(answer) };
}

/** One line of a watch's answer. @throws {StoreUnavailableError} if it is none of etcd's events */
export function decodeEvent(endpoint: string, line: string): KeyEvent {
  const json = tryParse(line);
  if (isRecord(json) && typeof json["action"] === "string" && isKeyNode(json["node"]))
    return { action: json["action"], node: json["node"] };
  throw new StoreUnavailableError(endpoint, `told of a change with what is no etcd event: ${excerpt(line)}`);
}

type Head = Pick<HttpAnswer, "headers">;

function headerOf(endpoint: string, { headers }: Head): StoreHeader {
  const cluster = headers["x-etcd-cluster-id"];
  const index = headers["x-etcd-index"];
  if (typeof cluster !== "string" || typeof index !== "string" || !/^\d+$/.test(index))
    throw new StoreUnavailableError(endpoint, "answers without X-Etcd-Cluster-Id and X-Etcd-Index, which etcd sends");
  return { cluster, index: BigInt(index) };
}

/** NaN if the server does not tell. */
function serverTimeOf({ headers }: Head): number {
  const { date } = headers;
  return typeof date === "string" ? Date.parse(date) : Number.NaN;
}

function isJson({ headers }: Head): boolean {
  const type = headers["content-type"];
  return typeof type === "string" && /^application\/json\b/i.test(type);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The root directory has no key and no index. */
function isKeyNode(value: unknown): value is KeyNode {
  if (!isRecord(value)) return false;
  const { dir, nodes } = value;
  return dir === true
    ? nodes === undefined || (Array.isArray(nodes) && nodes.every(isKeyNode))
    : typeof value["key"] === "string" && Number.isSafeInteger(value["modifiedIndex"]);
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isConditionFailure({ code }: KeyRefusal): boolean {
  return code === EtcdErrorCode.keyNotFound || code === EtcdErrorCode.compareFailed || code === EtcdErrorCode.keyExists;
}

/** Codes from 300 on are etcd's own troubles: raft, elections, watches; below, the request is not to its liking. */
function explainRefusal(
  endpoint: string,
  { code, message, cause }: KeyRefusal,
): StoreUnavailableError | StoreRefusedError {
  const reason = `etcd error ${code}: ${message}${cause === "" ? "" : ` (${cause})`}`;
  if (code === 110) return new StoreRefusedError(endpoint, `${reason}: ${CREDENTIALS_HINT}`);
  return code >= 300 ? new StoreUnavailableError(endpoint, reason) : new StoreRefusedError(endpoint, reason);
}

const CREDENTIALS_HINT =
  "check --etcd-username and --etcd-password, and that the user's role may read and write everything below --etcd-prefix";

function unauthorized(endpoint: string, json: unknown, answer: HttpAnswer): StoreRefusedError {
  const message = isRecord(json) && typeof json["message"] === "string" ? json["message"] : excerpt(answer.body);
  return new StoreRefusedError(endpoint, `${message}: ${CREDENTIALS_HINT}`);
}

/** Whatever answered is no etcd, or something in between changed the answer. */
function strange(endpoint: string, { status, headers, body }: HttpAnswer): StoreUnavailableError {
  const { location } = headers;
  if (status >= 300 && status < 400)
    return new StoreUnavailableError(endpoint, `redirects (${status}) to ${String(location)}, which is not followed`);
  const type = String(headers["content-type"] ?? "no content type");
  return new StoreUnavailableError(
    endpoint,
    `answered ${status} with what is not etcd's JSON (${type}): ${excerpt(body)}`,
  );
}

function excerpt(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
