// Writes other hosts' leases into a lab's store, as a program of its own inside the namespace where the store is.
import { Agent, request } from "node:http";
import { formatLeaseKey } from "../src/lease/lease-codec.ts";
import { silentLogger } from "../src/lib/logger.ts";
import { openSqliteRegistry } from "../src/store/sqlite/sqlite-registry.ts";
import { fakePeer, fakeValue, type WriterCommand, type WriterReply } from "./fake-peers.ts";

interface Writer {
  readonly put: (index: number) => Promise<void>;
  readonly remove: (index: number) => Promise<void>;
  /** How many writes at once are quickest. */
  readonly atOnce: number;
}

const PREFIX = "/coreos.com/network/subnets";
const agent = new Agent({ keepAlive: true, maxSockets: 64 });

function call(method: string, url: string, body: string, type: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, agent, headers: { "content-type": type } }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (text += chunk));
      response.on("end", () => {
        if ((response.statusCode ?? 500) < 300) resolve(text);
        else reject(new Error(`${method} ${url}: ${text}`));
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

function etcd2(endpoint: string, backend: string): Writer {
  const url = (index: number) => `${endpoint}/v2/keys${PREFIX}/${formatLeaseKey(fakePeer(index))}`;
  return {
    atOnce: 32,
    async put(index) {
      const body = new URLSearchParams({ ttl: "86400", value: fakeValue(index, backend, "0.7") }).toString();
      await call("PUT", url(index), body, "application/x-www-form-urlencoded");
    },
    async remove(index) {
      await call("DELETE", url(index), "", "text/plain");
    },
  };
}

async function etcd3(endpoint: string, backend: string): Promise<Writer> {
  const post = async (path: string, body: unknown): Promise<unknown> =>
    JSON.parse(await call("POST", `${endpoint}/v3/${path}`, JSON.stringify(body), "application/json"));
  const { ID } = (await post("lease/grant", { TTL: 86400 })) as { readonly ID: string };
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const key = (index: number) => base64(`${PREFIX}/${formatLeaseKey(fakePeer(index))}`);
  return {
    atOnce: 32,
    async put(index) {
      await post("kv/put", { key: key(index), value: base64(fakeValue(index, backend, "later")), lease: ID });
    },
    async remove(index) {
      await post("kv/deleterange", { key: key(index) });
    },
  };
}

async function embedded(file: string, backend: string): Promise<Writer> {
  const { signal } = new AbortController();
  const registry = await openSqliteRegistry(file, { logger: silentLogger }, { signal });
  const { parseAttributes } = await import("../src/lease/lease-codec.ts");
  return {
    atOnce: 500,
    async put(index) {
      const attributes = parseAttributes(fakeValue(index, backend, "0.7"));
      await registry.createLease("", { ...fakePeer(index), attributes, isReservation: false }, { signal });
    },
    async remove(index) {
      const lease = await registry.getLease("", fakePeer(index).subnet, { signal });
      if (lease !== undefined) await registry.deleteLease("", lease, { signal });
    },
  };
}

async function each(
  from: number,
  count: number,
  atOnce: number,
  write: (index: number) => Promise<void>,
): Promise<void> {
  let next = from;
  const worker = async () => {
    while (next < from + count) await write(next++);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

const [kind = "", place = "", backend = ""] = process.argv.slice(2);
const writer =
  kind === "etcd2"
    ? etcd2(place, backend)
    : kind === "etcd3"
      ? await etcd3(place, backend)
      : await embedded(place, backend);

process.on("message", (command: WriterCommand) => {
  const started = process.hrtime.bigint();
  const write = command.type === "put" ? writer.put : writer.remove;
  each(command.from, command.count, command.count === 1 ? 1 : writer.atOnce, write).then(
    () => reply({ started: String(started), ended: String(process.hrtime.bigint()) }),
    (error: unknown) => reply({ error: String(error) }),
  );
});
process.on("disconnect", () => process.exit(0));

function reply(message: WriterReply): void {
  process.send?.(message);
}
reply({ started: "0", ended: "0" });
