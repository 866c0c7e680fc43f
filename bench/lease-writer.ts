// Writes other hosts' leases into a lab's store, as a program of its own inside the namespace where the store is.
import { formatLeaseKey } from "../src/lease/lease-codec.ts";
import { silentLogger } from "../src/lib/logger.ts";
import { openSqliteRegistry } from "../src/store/sqlite/sqlite-registry.ts";
import { fakePeer, fakeValue, type WriterCommand, type WriterReply } from "./fake-peers.ts";
import { HttpSender } from "./http-sender.ts";

/** Sends what was prepared. */
type Send = () => Promise<unknown>;

interface Writer {
  /** Prepares a write; sending it then takes no time of ours that would count as the store's. */
  readonly put: (index: number) => Send;
  readonly remove: (index: number) => Send;
  /** How many writes at once are quickest. */
  readonly atOnce: number;
}

const PREFIX = "/coreos.com/network/subnets";

async function etcd2(endpoint: string, backend: string): Promise<Writer> {
  const sender = await HttpSender.connect(endpoint, 32);
  const path = (index: number) => `/v2/keys${PREFIX}/${formatLeaseKey(fakePeer(index))}`;
  return {
    atOnce: 32,
    put(index) {
      const body = new URLSearchParams({ ttl: "86400", value: fakeValue(index, backend, "0.7") }).toString();
      return sender.prepare("PUT", path(index), body, "application/x-www-form-urlencoded");
    },
    remove: (index) => sender.prepare("DELETE", path(index), "", "text/plain"),
  };
}

async function etcd3(endpoint: string, backend: string): Promise<Writer> {
  const sender = await HttpSender.connect(endpoint, 32);
  const post = (path: string, body: unknown) =>
    sender.prepare("POST", `/v3/${path}`, JSON.stringify(body), "application/json");
  const { ID } = JSON.parse(await post("lease/grant", { TTL: 86400 })()) as { readonly ID: string };
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const key = (index: number) => base64(`${PREFIX}/${formatLeaseKey(fakePeer(index))}`);
  return {
    atOnce: 32,
    put: (index) => post("kv/put", { key: key(index), value: base64(fakeValue(index, backend, "later")), lease: ID }),
    remove: (index) => post("kv/deleterange", { key: key(index) }),
  };
}

async function embedded(file: string, backend: string): Promise<Writer> {
  const { signal } = new AbortController();
  const registry = await openSqliteRegistry(file, { logger: silentLogger }, { signal });
  const { parseAttributes } = await import("../src/lease/lease-codec.ts");
  return {
    atOnce: 500,
    put(index) {
      const attributes = parseAttributes(fakeValue(index, backend, "0.7"));
      return () => registry.createLease("", { ...fakePeer(index), attributes, isReservation: false }, { signal });
    },
    remove: (index) => async () => {
      const lease = await registry.getLease("", fakePeer(index).subnet, { signal });
      if (lease !== undefined) await registry.deleteLease("", lease, { signal });
    },
  };
}

/** @returns when the first was sent */
async function each({ from, count }: WriterCommand, atOnce: number, prepare: (index: number) => Send): Promise<bigint> {
  const first = prepare(from);
  let next = from + 1;
  const started = process.hrtime.bigint();
  const worker = async (send: Send | undefined) => {
    await send?.();
    while (next < from + count) await prepare(next++)();
  };
  await Promise.all(Array.from({ length: atOnce }, (_, index) => worker(index === 0 ? first : undefined)));
  return started;
}

const [kind = "", place = "", backend = ""] = process.argv.slice(2);
const open = kind === "etcd2" ? etcd2 : kind === "etcd3" ? etcd3 : embedded;
const writer = await open(place, backend);

process.on("message", (command: WriterCommand) => {
  const write = command.type === "put" ? writer.put : writer.remove;
  each(command, command.count === 1 ? 1 : writer.atOnce, write).then(
    (started) => reply({ started: String(started), ended: String(process.hrtime.bigint()) }),
    (error: unknown) => reply({ error: String(error) }),
  );
});
process.on("disconnect", () => process.exit(0));

function reply(message: WriterReply): void {
  process.send?.(message);
}
reply({ started: "0", ended: "0" });
