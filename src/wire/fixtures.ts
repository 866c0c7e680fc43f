// For tests only.
import { readFileSync } from "node:fs";
import { type Source, sourceOf } from "./codec.ts";
import { MessageCursor } from "./netlink-header.ts";

export type Said = Readonly<Record<string, unknown>>;

/** What the kernel told of its objects, whole messages, and what iproute2 said of the same: `test/wire/capture-fixtures.ts` wrote it. */
export interface Fixture {
  readonly messages: readonly Uint8Array[];
  readonly says: readonly Said[];
}

export const FIXTURES = ["links", "addresses", "routes", "neighbors", "fdb", "nexthops", "refusal"] as const;

export function readFixture(name: (typeof FIXTURES)[number]): Fixture {
  const path = new URL(`fixtures/${name}.json`, import.meta.url);
  const { messages, says }: { messages: string[]; says: Said[] } = JSON.parse(readFileSync(path, "utf8"));
  return { messages: messages.map((hex) => Uint8Array.from(Buffer.from(hex, "hex"))), says };
}

/** A cursor at the one message in these bytes. */
export function cursorAt(bytes: Uint8Array): MessageCursor {
  const cursor = new MessageCursor(sourceOf(bytes), bytes.length);
  if (!cursor.next()) throw new Error("no message");
  return cursor;
}

export interface Reader<T> {
  read(source: Source, start: number, end: number): T;
}

/** All that the codec reads of a fixture's messages. */
export function decodeAll<T>(name: (typeof FIXTURES)[number], codec: Reader<T>): readonly T[] {
  return readFixture(name).messages.map((bytes) => {
    const cursor = cursorAt(bytes);
    return codec.read(cursor.source, cursor.start, cursor.end);
  });
}
