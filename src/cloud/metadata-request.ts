import { request } from "node:http";
import type { Abortable } from "../lib/abortable.ts";
import { sleepAwake } from "../lib/awake.ts";
import { type Milliseconds, systemClock } from "../lib/clock.ts";
import { CloudError, foreignText } from "./cloud-error.ts";

/** Of what a metadata server says about one instance; more is none. */
const LONGEST_ANSWER = 256 * 1024;

export interface MetadataRequest extends Abortable {
  readonly method?: "GET" | "PUT";
  readonly headers?: Readonly<Record<string, string>>;
  /** Until the whole answer is there. */
  readonly timeout: Milliseconds;
}

export interface MetadataAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: string;
}

/**
 * One request to the link-local server that tells an instance about itself: never through a proxy, never kept open.
 * @throws {CloudError} of kind `unreachable` or `silent`
 */
export function askMetadata(
  url: URL,
  { method = "GET", headers = {}, timeout, signal }: MetadataRequest,
): Promise<MetadataAnswer> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const late = new AbortController();
    const over = new AbortController();
    sleepAwake(systemClock, timeout, over).then(
      () => late.abort(),
      () => undefined,
    );
    const fail = (error: Error) => {
      if (signal.aborted) reject(signal.reason);
      else {
        const why = late.signal.aborted ? `no answer within ${timeout / 1000} s` : foreignText(error.message);
        reject(new CloudError(late.signal.aborted ? "silent" : "unreachable", `metadata server ${url.origin}: ${why}`));
      }
    };
    const outgoing = request(
      url,
      { method, headers, agent: false, signal: AbortSignal.any([signal, late.signal]) },
      (incoming) => {
        let body = "";
        incoming.setEncoding("utf8");
        incoming.on("data", (text: string) => {
          body += text;
          if (body.length > LONGEST_ANSWER) incoming.destroy(new Error("the answer is too long"));
        });
        incoming.on("end", () => resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body }));
        incoming.on("error", fail);
      },
    );
    outgoing.on("error", fail);
    outgoing.once("close", () => over.abort());
    outgoing.end();
  });
}
