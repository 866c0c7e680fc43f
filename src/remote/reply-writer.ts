import type { IncomingMessage, ServerResponse } from "node:http";
import type { Milliseconds } from "../lib/clock.ts";
import { HEADERS } from "./headers.ts";
import { remembered } from "./remembered.ts";
import type { Reply } from "./reply.ts";

/** How long a client may take to read its answer. */
const ANSWER_TIME: Milliseconds = 60_000;

const NO_HEADERS = {};

/** Sends an answer, unless the client is gone or has one already. */
export type WriteReply = (message: IncomingMessage, response: ServerResponse, answer: Reply) => void;

/** @param headers what answers to our own clients tell besides; the same object as long as it is the same */
export function replyWriter(headers: () => Reply["headers"]): WriteReply {
  /** Names and values in turn, made once for an answer that goes to thousands. */
  const head = remembered((answer: Reply) => remembered((more: Reply["headers"]) => headOf(answer, more)));
  return (message, response, answer) => {
    if (response.destroyed || response.headersSent) return;
    const more = message.headers[HEADERS.client] === undefined ? NO_HEADERS : headers();
    response.writeHead(answer.status, head(answer)(more));
    response.end(answer.body); // a text goes out with its head in one write
    const { socket } = response;
    if (socket === null || socket.writableLength === 0) return;
    response.setTimeout(ANSWER_TIME, () => socket.destroy());
  };
}

function headOf({ headers, body }: Reply, more: Reply["headers"]): string[] {
  return Object.entries({ ...headers, ...more, "Content-Length": String(Buffer.byteLength(body)) }).flat();
}
