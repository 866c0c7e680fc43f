import { HEADERS } from "./headers.ts";

/** An answer, ready to be sent. */
export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Buffer;
}

/**
 * An answer that is to come when something happens. Of those who wait there are thousands: nothing else is kept for them, no promise and
 * no signal.
 */
export interface Parked {
  /** Begins to wait, once. @param deliver called at most once @returns what to call if the client goes first */
  wait(deliver: (answer: Reply | Promise<Reply>) => void): () => void;
}

const TYPES = { json: "application/json; charset=utf-8", text: "text/plain; charset=utf-8" };

export function reply(
  status: number,
  body: string | Buffer = "",
  headers: Reply["headers"] = {},
  type: keyof typeof TYPES = "text",
): Reply {
  return { status, body, headers: body.length === 0 ? headers : { "Content-Type": TYPES[type], ...headers } };
}

/** The connection ends with it. */
export function closing(answer: Reply): Reply {
  return { ...answer, headers: { ...answer.headers, Connection: "close" } };
}

/** What 0.7.0 answers to every path and method that it does not know. */
export const NOT_FOUND: Reply = reply(404, "404 page not found\n", { "X-Content-Type-Options": "nosniff" });

export interface Failure {
  readonly status: number;
  readonly text: string;
  readonly code?: string | undefined;
  readonly field?: string | undefined;
}

export function errorReply({ status, text, code, field }: Failure): Reply {
  if (status === 404) return NOT_FOUND;
  return reply(status, text, {
    ...(code !== undefined && { [HEADERS.error]: code }),
    ...(field !== undefined && { [HEADERS.field]: encodeURIComponent(field) }),
  });
}
