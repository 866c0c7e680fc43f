// Peers as nodes tell of them, whatever else nodes tell, and whatever happens to the API server meanwhile.
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { continuesHistory } from "../../src/lease/lease.ts";
import { annotations, definite, PREFIX } from "./annotations.ts";
import type { Fault } from "./api/faults.ts";
import { KubeBench, removedBy, signal, untilStanding } from "./bench.ts";

const B = "10.5.2.0/24 192.0.2.2";
const C = "10.5.3.0/24 192.0.2.3";

test("watchLeases() follows nodes: added, annotated, changed, given up, deleted", async () => {
  await using bench = await KubeBench.open();
  bench.addPeer("b", "10.5.2.0/24", "192.0.2.2");
  const watch = bench.follow(bench.manager());
  await untilStanding(watch, B);
  bench.api.addNode("c", ["10.5.3.0/24"]);
  bench.api.annotate("c", annotations("192.0.2.3"));
  await untilStanding(watch, B, C);
  bench.api.annotate("b", { [`${PREFIX}public-ip`]: "192.0.2.22" });
  await untilStanding(watch, "10.5.2.0/24 192.0.2.22", C);
  bench.api.annotate("b", { [`${PREFIX}kube-subnet-manager`]: null });
  await untilStanding(watch, C);
  bench.api.removeNode("c");
  const updates = await untilStanding(watch);
  expect(removedBy(updates)).toEqual(["10.5.2.0/24", "10.5.3.0/24"]);
});

test("watchLeases() says nothing of the changes that nodes make every few seconds", async () => {
  await using bench = await KubeBench.open();
  bench.addPeer("b", "10.5.2.0/24", "192.0.2.2");
  const watch = bench.follow(bench.manager());
  await untilStanding(watch, B);
  for (let beat = 0; beat < 20; beat++) bench.api.annotate("b", { heartbeat: String(beat) });
  bench.addPeer("c", "10.5.3.0/24", "192.0.2.3");
  const updates = await untilStanding(watch, B, C);
  expect(updates.map(({ type }) => type)).toEqual(["snapshot", "events"]);
});

test("watchLeases() leaves out what is no peer or makes no sense, and complains of nonsense once", async () => {
  await using bench = await KubeBench.open();
  const { api } = bench;
  bench.addPeer("b", "10.5.2.0/24", "192.0.2.2");
  api.addNode("bare", ["10.5.10.0/24"], { metadata: { name: "bare" } });
  api.addNode("foreign", ["10.5.11.0/24"]);
  api.annotate("foreign", annotations("192.0.2.11", { "kube-subnet-manager": "false" }));
  api.addNode("unassigned", []);
  api.annotate("unassigned", annotations("192.0.2.12"));
  api.addNode("six", ["10.5.12.0/24"]);
  api.annotate("six", annotations("", { "public-ip": null, "public-ipv6": "fd00::12" }));
  api.addNode("address", ["10.5.13.0/24"]);
  api.annotate("address", annotations("nonsense"));
  api.addNode("json", ["10.5.14.0/24"]);
  api.annotate("json", annotations("192.0.2.14", { "backend-data": "{" }));
  api.addNode("cidr", ["10.5.15.7/24"]);
  api.annotate("cidr", annotations("192.0.2.15"));
  api.addNode("twin", ["10.5.2.0/24"]);
  api.annotate("twin", annotations("192.0.2.16"));
  const watch = bench.follow(bench.manager());
  await untilStanding(watch, B);
  for (const name of ["address", "json", "cidr"]) api.annotate(name, { beat: "1" });
  api.removeNode("b");
  await untilStanding(watch, "10.5.2.0/24 192.0.2.16"); // the other one that claims it
  const complaints = bench.logger.lines.filter(({ level }) => level === "warn").map(({ fields }) => fields);
  expect(new Set(complaints.map(({ node }) => node))).toEqual(new Set(["address", "cidr", "json", "twin"]));
  expect(complaints).toHaveLength(4);
  expect(complaints).toContainEqual({ node: "json", reason: 'annotation backend-data: must be JSON, not "{"' });
});

test("watchLeases() never lets another node take our own subnet", async () => {
  await using bench = await KubeBench.open();
  const manager = bench.manager();
  bench.addPeer("thief", "10.5.1.0/24", "192.0.2.66");
  await bench.take(manager);
  await untilStanding(bench.follow(manager), "10.5.1.0/24 192.0.2.1");
});

test("watchLeases() understands what later releases with two families write", async () => {
  await using bench = await KubeBench.open();
  bench.api.addNode("b", ["10.5.2.0/24", "fd00:5:2::/64"]);
  bench.api.annotate("b", annotations("192.0.2.2", { "backend-v6-data": '{"VNI":1}', "public-ipv6": "fd00::2" }));
  const [update] = await untilStanding(bench.follow(bench.manager()), B);
  expect(update).toMatchObject({
    leases: [{ attributes: { backendData: { VNI: 1 }, backendV6Data: { VNI: 1 }, backendType: "vxlan" } }],
  });
});

test("watchLeases() lists in pages, also when a page's list is forgotten in the midst", async () => {
  await using bench = await KubeBench.open();
  const subnets = Array.from({ length: 1_200 }, (_, index) => `10.${6 + (index >> 8)}.${index & 255}.0/24`);
  for (const [index, subnet] of subnets.entries()) {
    const name = `n${index}`;
    const metadata = { name, annotations: definite(annotations(`192.0.${index >> 8}.${index & 255}`)) };
    bench.api.addNode(name, [subnet], { metadata });
  }
  bench.api.clearCalls();
  bench.api.faults.add({ verb: "list", after: 1, fault: { kind: "status", code: 410 } });
  const [snapshot] = await bench.follow(bench.manager()).until((updates) => updates.length > 0);
  expect(snapshot?.type === "snapshot" && snapshot.leases).toHaveLength(1_200);
  expect(bench.calls("list").map(({ url, status }) => `${/limit=\d+/.exec(url)?.[0]} ${status}`)).toEqual([
    "limit=500 200",
    "limit=500 410",
    "limit=500 200",
    "limit=500 200",
    "limit=500 200",
  ]);
});

test("watchLeases() goes on where it was when the server ends a watch, by bookmarks also after its history is gone", async () => {
  await using bench = await KubeBench.open();
  bench.addPeer("b", "10.5.2.0/24", "192.0.2.2");
  const watch = bench.follow(bench.manager());
  await untilStanding(watch, B);
  await waitUntil(() => bench.calls("watch").some(({ status }) => status === 200), {
    signal,
    within: 20_000,
    what: "the watch stands",
  });
  bench.api.store.tick(100); // changes of other kinds of objects
  bench.api.store.compact();
  for (let turn = 0; turn < 4; turn++) await delay(100); // a bookmark comes every 100 ms, and must be read before the next line
  bench.api.dropConnections();
  bench.addPeer("c", "10.5.3.0/24", "192.0.2.3");
  const updates = await untilStanding(watch, B, C);
  expect(updates.map(({ type }) => type)).toEqual(["snapshot", "events"]);
});

test("watchLeases() begins anew, in another history, when the API server was restored to an older state", async () => {
  await using bench = await KubeBench.open();
  bench.addPeer("b", "10.5.2.0/24", "192.0.2.2");
  const saved = bench.api.store.save();
  bench.addPeer("c", "10.5.3.0/24", "192.0.2.3");
  const watch = bench.follow(bench.manager());
  await untilStanding(watch, B, C);
  await bench.api.stop();
  bench.api.store.restore(saved);
  await bench.api.resume();
  const updates = await untilStanding(watch, B);
  const [first] = updates;
  const last = updates.at(-1);
  expect(last?.type).toBe("snapshot");
  expect(first && last && continuesHistory(first.cursor, last.cursor)).toBe(false);
});

const FAULTS: Readonly<Record<string, Fault>> = {
  "status 500": { kind: "status", code: 500 },
  "status 429": { kind: "status", code: 429, retryAfter: 1 },
  "a closed connection": { kind: "reset" },
  "a truncated answer": { kind: "truncate", bytes: 120 },
  "what is no JSON": { kind: "nonsense", text: "<html>502 Bad Gateway</html>\n" },
  "a slow body": { kind: "slow", bytes: 200, every: 2 },
};

for (const [title, fault] of Object.entries(FAULTS))
  test(`watchLeases() ends with the right peers after ${title}`, async () => {
    await using bench = await KubeBench.open();
    bench.addPeer("b", "10.5.2.0/24", "192.0.2.2");
    const times = title.endsWith("429") ? 1 : 2; // each is a second's wait
    bench.api.faults.add({ verb: "list", times, fault }, { verb: "watch", times, fault });
    const watch = bench.follow(bench.manager());
    await untilStanding(watch, B);
    bench.api.removeNode("b");
    bench.addPeer("c", "10.5.3.0/24", "192.0.2.3");
    await untilStanding(watch, C);
    expect(bench.logger.messages("error")).toEqual([]);
    expect(new Set(bench.logger.messages("warn")).size).toBeLessThan(2);
  });

test("watchLeases() loses no change to a watch that is cut off in the midst of one", async () => {
  await using bench = await KubeBench.open();
  bench.api.faults.add({ verb: "watch", fault: { kind: "truncate", bytes: 700 } });
  const watch = bench.follow(bench.manager());
  await watch.until((updates) => updates.length > 0);
  const names = Array.from({ length: 10 }, (_, index) => index + 10);
  for (const number of names) bench.addPeer(`n${number}`, `10.5.${number}.0/24`, `192.0.2.${number}`);
  await untilStanding(watch, ...names.map((number) => `10.5.${number}.0/24 192.0.2.${number}`));
});

const EVENT = (code: number) => `{"type":"ERROR","object":{"code":${code},"message":"the test's"}}\n`;

/** Faults that do not end, and how often what they hit may be asked at each of our tries. */
const LASTING: readonly (readonly [verb: string | undefined, fault: Fault, most: number])[] = [
  [undefined, { kind: "status", code: 500 }, 1],
  [undefined, { kind: "status", code: 401 }, 2], // once more with credentials that were looked at anew
  ["list", { kind: "status", code: 429 }, 1],
  ["list", { kind: "status", code: 410 }, 3], // twice from its first page, then as a whole
  ["list", { kind: "truncate", bytes: 300 }, 1],
  ["watch", { kind: "status", code: 429 }, 1],
  ["watch", { kind: "status", code: 410 }, 1],
  ["watch", { kind: "nonsense", text: EVENT(410) }, 1],
  ["watch", { kind: "nonsense", text: EVENT(500) }, 1],
  ["watch", { kind: "nonsense", text: "<html>\n" }, 1],
  ["watch", { kind: "nonsense", text: "\n" }, 1], // ended as it should be, but at once
  ["watch", { kind: "truncate", bytes: 100 }, 1],
  ["watch", { kind: "reset" }, 2], // a kept connection may have been closed long ago
];

/** 0.2, 0.4, 0.8, 1.6 and 3.2 s lie between tries, each up to a fifth less: so many begin in the time that is looked at. */
const LOOKED_AT = { span: 4_000, tries: 6 };

test("watchLeases() asks seldom while the API server fails, however it fails", async () => {
  await Promise.all(
    LASTING.map(async ([verb, fault, most]) => {
      await using bench = await KubeBench.open();
      bench.api.faults.add({ ...(verb !== undefined && { verb }), times: 100_000, fault });
      bench.addPeer("b", "10.5.2.0/24", "192.0.2.2");
      const watch = bench.follow(bench.manager());
      const title = JSON.stringify([verb, fault]);
      const hit = () => bench.api.calls.filter((call) => verb === undefined || call.verb === verb);
      await delay(LOOKED_AT.span);
      await waitUntil(() => hit().length > most, { signal, within: 20_000, what: `${title} is met again` });
      const [first] = hit();
      const early = hit().filter(({ time }) => time - (first?.time ?? 0) < LOOKED_AT.span);
      expect(early.length, title).toBeLessThanOrEqual(LOOKED_AT.tries * most);
      bench.api.faults.clear();
      bench.addPeer("c", "10.5.3.0/24", "192.0.2.3");
      await untilStanding(watch, B, C);
    }),
  );
});

test("a node without podCIDRs asks seldom for them where watches are ended at once", async () => {
  await using bench = await KubeBench.open();
  bench.api.addNode("bare", []);
  bench.api.faults.add({ verb: "watch", times: 100_000, fault: { kind: "nonsense", text: "\n" } });
  const taken = bench.take(bench.manager({ node: "bare" }));
  await delay(2_000);
  expect(bench.calls("watch").length).toBeLessThanOrEqual(5);
  bench.api.faults.clear();
  bench.api.change("bare", (node) => ({ ...node, spec: { podCIDR: "10.5.7.0/24", podCIDRs: ["10.5.7.0/24"] } }));
  expect(await taken).toMatchObject({ subnet: parsePrefix("10.5.7.0/24") });
});

test("watchLeases() says once that watching fails, and that it works again when it does", async () => {
  await using bench = await KubeBench.open();
  bench.addPeer("b", "10.5.2.0/24", "192.0.2.2");
  bench.api.faults.add({ verb: "watch", times: 3, fault: { kind: "status", code: 500 } });
  const watch = bench.follow(bench.manager());
  await untilStanding(watch, B);
  bench.addPeer("c", "10.5.3.0/24", "192.0.2.3");
  await untilStanding(watch, B, C);
  expect(bench.logger.messages("warn")).toEqual(["the store is away; leases are kept as they were"]);
  expect(bench.logger.messages("info")).toEqual(["the store is back"]);
});

test("watchLeases() waits as long as a server asks it to", async () => {
  await using bench = await KubeBench.open();
  bench.api.faults.add({ fault: { kind: "status", code: 429, retryAfter: 2 } });
  await bench.follow(bench.manager()).until((updates) => updates.length > 0);
  const [refused, next] = bench.api.calls;
  expect(refused?.status).toBe(429);
  expect((next?.time ?? 0) - (refused?.time ?? 0)).toBeGreaterThan(1_900);
});

test("watchLeases() says what right is missing, and goes on once it is given", async () => {
  await using bench = await KubeBench.open();
  bench.api.faults.add({ verb: "list", times: 2, fault: { kind: "status", code: 403 } });
  await bench.follow(bench.manager()).until((updates) => updates.length > 0);
  expect(bench.logger.messages("error")).toEqual(["the store refuses us; trying again from time to time"]);
  const [line] = bench.logger.lines.filter(({ level }) => level === "error");
  expect(JSON.stringify(line?.fields)).toContain(
    "flannel needs get, list and watch of nodes, and patch of nodes/status",
  );
});
