import type { IncomingMessage } from "node:http";

/** Bytes. A lease is 200. */
export const MOST_BODY = 64 * 1024;

/** Undefined if it is too long. */
export async function readBody(message: IncomingMessage): Promise<string | undefined> {
  if (Number(message.headers["content-length"] ?? 0) > MOST_BODY) return undefined;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of message.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MOST_BODY) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size).toString("utf8");
}
