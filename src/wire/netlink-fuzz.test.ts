import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AddressMessage } from "./address-message.ts";
import { type Codec, sourceOf } from "./codec.ts";
import { FIXTURES, readFixture } from "./fixtures.ts";
import { IpsetMessage } from "./ipset-message.ts";
import { LinkMessage } from "./link-message.ts";
import { NeighborMessage } from "./neighbor-message.ts";
import { MessageCursor, NETLINK_HEADER_SIZE, readAcknowledgement, readDone, writeMessage } from "./netlink-header.ts";
import { NexthopMessage } from "./nexthop-message.ts";
import { NftElementsMessage } from "./nftables-message.ts";
import { RouteMessage } from "./route-message.ts";
import { WireError } from "./wire-error.ts";
import { Writer } from "./writer.ts";

const CODECS: readonly Codec<unknown>[] = [
  LinkMessage,
  AddressMessage,
  RouteMessage,
  NeighborMessage,
  NexthopMessage,
  NftElementsMessage,
  IpsetMessage,
];
const captured = FIXTURES.flatMap((name) => readFixture(name).messages);

/** How many messages there were; all readers took or refused them with a WireError, anything else is thrown. */
function survive(bytes: Uint8Array): number {
  const source = sourceOf(bytes);
  const refusable = (read: () => unknown) => {
    try {
      read();
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
    }
  };
  let messages = 0;
  refusable(() => {
    const cursor = new MessageCursor(source, bytes.length);
    while (cursor.next()) {
      messages++;
      for (const codec of CODECS) refusable(() => codec.read(source, cursor.start, cursor.end));
      refusable(() => readAcknowledgement(cursor));
      refusable(() => readDone(cursor));
    }
  });
  return messages;
}

describe("netlink readers", () => {
  test("take or refuse captured messages in which bytes were changed, and never crash or hang", () => {
    const mutation = fc.record({ at: fc.nat(2000), to: fc.constantFrom(0, 1, 2, 3, 4, 5, 8, 0x7f, 0x80, 0xff) });
    fc.assert(
      fc.property(
        fc.nat(captured.length - 1),
        fc.array(mutation, { minLength: 1, maxLength: 6 }),
        (which, mutations) => {
          const bytes = Uint8Array.from(captured[which] ?? []);
          for (const { at, to } of mutations) bytes[at % bytes.length] = to;
          expect(survive(bytes)).toBeLessThanOrEqual(bytes.length / NETLINK_HEADER_SIZE);
        },
      ),
      { seed: 1, numRuns: 5000 },
    );
  });

  test("take or refuse captured messages that were cut", () => {
    for (const bytes of captured)
      for (let length = 0; length < bytes.length; length += 3) {
        const cut = bytes.slice(0, length);
        if (length >= 4) new DataView(cut.buffer).setUint32(0, length, true);
        expect(survive(cut)).toBe(length < NETLINK_HEADER_SIZE ? 0 : 1);
      }
  });

  test("take or refuse any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => survive(bytes) <= bytes.length / NETLINK_HEADER_SIZE),
      { seed: 2, numRuns: 5000 },
    );
  });
});

const u8 = fc.integer({ min: 0, max: 0xff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const address = fc.oneof(
  fc.bigInt({ min: 0n, max: 0xffff_ffffn }).map((value) => ({ family: 4 as const, value })),
  fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }).map((value) => ({ family: 6 as const, value })),
);
const mac = fc
  .array(u8, { minLength: 6, maxLength: 6 })
  .map((bytes) => bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(":"));
const some = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const unknown = some(
  fc.array(fc.record({ type: fc.integer({ min: 200, max: 0x3fff }), bytes: fc.uint8Array({ maxLength: 9 }) }), {
    minLength: 1,
    maxLength: 3,
  }),
);

interface Subject {
  readonly name: string;
  readonly codec: Codec<unknown>;
  readonly values: fc.Arbitrary<object>;
}

const SUBJECTS: readonly Subject[] = [
  {
    name: "NeighborMessage",
    codec: NeighborMessage as Codec<unknown>,
    values: fc.record({
      family: u8,
      linkIndex: u32,
      state: u16,
      flags: u8,
      kind: u8,
      destination: some(address),
      linkLayerAddress: some(mac),
      port: some(u16),
      vni: some(u32),
      unknown,
    }),
  },
  {
    name: "RouteMessage",
    codec: RouteMessage as Codec<unknown>,
    values: fc.record({
      family: u8,
      destinationLength: u8,
      table: u8,
      protocol: u8,
      flags: u32,
      destination: some(address),
      linkIndex: some(u32),
      metrics: some(fc.record({ mtu: some(u32), congestionControl: some(fc.constantFrom("reno", "cubic")) })),
      multipath: some(
        fc.array(fc.record({ flags: u8, hops: u8, linkIndex: u32, gateway: some(address) }), { maxLength: 3 }),
      ),
      nexthopId: some(u32),
      unknown,
    }),
  },
  {
    name: "LinkMessage",
    codec: LinkMessage as Codec<unknown>,
    values: fc.record({
      index: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      flags: u32,
      name: some(fc.stringMatching(/^[a-z0-9.]{1,15}$/)),
      mac: some(mac),
      info: some(
        fc.oneof(
          fc.record({
            kind: fc.constant("vxlan"),
            vxlan: fc.record({
              vni: some(u32),
              local: some(address),
              port: some(u16),
              gbp: some(fc.constant(true as const)),
              ttlInherit: some(fc.boolean()),
            }),
          }),
          fc.record({ kind: fc.constant("odd"), data: fc.uint8Array({ maxLength: 9 }) }),
        ),
      ),
      unknown,
    }),
  },
];

test.for(SUBJECTS)("$name reads back what it wrote, between other messages", ({ codec, values }) => {
  fc.assert(
    fc.property(fc.array(values, { minLength: 1, maxLength: 4 }), (batch) => {
      const writer = new Writer(8);
      for (const [sequence, value] of batch.entries())
        writeMessage(writer, { type: 99, flags: 5, sequence }, codec, value);
      const cursor = new MessageCursor(sourceOf(writer.bytes), writer.length);
      for (const [sequence, value] of batch.entries()) {
        expect(cursor.next()).toBe(true);
        expect(cursor).toMatchObject({ type: 99, flags: 5, sequence });
        expect(codec.read(cursor.source, cursor.start, cursor.end)).toMatchObject(defined(value));
      }
      expect(cursor.next()).toBe(false);
    }),
    { seed: 3 },
  );
});

/** Without what is undefined, which a message leaves out. */
function defined(value: unknown): object {
  return Object.fromEntries(Object.entries(value as object).filter(([, field]) => field !== undefined));
}
