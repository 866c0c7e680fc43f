import { expect, test } from "vitest";
import { annotationKeys } from "./annotation-keys.ts";
import type { ApiClient } from "./api-client.ts";
import { NodeReader } from "./node.ts";
import { listNodes } from "./node-listing.ts";

const { signal } = new AbortController();
const reader = new NodeReader("https://api", annotationKeys("flannel.alpha.coreos.com"));

/** A client whose answers are these texts. */
function clientOf(...answers: readonly string[]): { readonly client: ApiClient; readonly paths: string[] } {
  const paths: string[] = [];
  const left = [...answers];
  const stream: ApiClient["stream"] = async (path, { onChunk }) => {
    paths.push(path);
    onChunk(Buffer.from(left.shift() ?? ""));
  };
  return { client: { server: "https://api", stream } as Partial<ApiClient> as ApiClient, paths };
}

const list = (items: string, metadata = '{"resourceVersion":"7"}') =>
  `{"kind":"NodeList","apiVersion":"v1","metadata":${metadata},"items":[${items}]}`;

const NODE = {
  metadata: { name: "a", resourceVersion: "5" },
  spec: { podCIDR: "10.5.1.0/24" },
  status: { images: [{ names: ["x"] }] },
};

test.each([
  ["as the API writes it", NODE],
  ["with its status first", { status: NODE.status, metadata: NODE.metadata, spec: NODE.spec }],
  ["with another status inside", { metadata: { ...NODE.metadata, z: { y: 1, status: {} } }, spec: NODE.spec }],
  ["with its status between", { metadata: NODE.metadata, status: NODE.status, spec: NODE.spec }],
  ["without a status", { metadata: NODE.metadata, spec: NODE.spec }],
])("listNodes() reads a node %s", async (_, node) => {
  const { nodes, version } = await listNodes(clientOf(list(JSON.stringify(node))).client, reader, { signal });
  expect(nodes).toMatchObject([{ name: "a", version: 5n, podCIDRs: ["10.5.1.0/24"] }]);
  expect(version).toBe(7n);
});

test("listNodes() follows the pages, and escapes what leads from one to the next", async () => {
  const { client, paths } = clientOf(
    list(JSON.stringify(NODE), '{"resourceVersion":"7","continue":"a+b/c="}'),
    list(JSON.stringify({ ...NODE, metadata: { ...NODE.metadata, name: "b" } })),
  );
  expect((await listNodes(client, reader, { signal })).nodes.map(({ name }) => name)).toEqual(["a", "b"]);
  expect(paths).toEqual(["/api/v1/nodes?limit=500", "/api/v1/nodes?limit=500&continue=a%2Bb%2Fc%3D"]);
});

/** A client whose answers end when the test says so. */
function slowClient(...beginnings: readonly string[]) {
  const answers = beginnings.map((beginning) => ({ beginning, over: Promise.withResolvers<string>() }));
  const paths: string[] = [];
  const stream: ApiClient["stream"] = async (path, { onChunk, signal }) => {
    const answer = answers[paths.push(path) - 1];
    if (answer === undefined) throw new Error("nobody asked for that");
    onChunk(Buffer.from(answer.beginning));
    const aborted = new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    onChunk(Buffer.from(await Promise.race([answer.over.promise, aborted])));
  };
  return { client: { server: "https://api", stream } as Partial<ApiClient> as ApiClient, paths, answers };
}

const cutInTwo = (text: string) => [text.slice(0, -5), text.slice(-5)] as const;
const [first, firstEnd] = cutInTwo(list(JSON.stringify(NODE), '{"resourceVersion":"7","continue":"next"}'));
const [second, secondEnd] = cutInTwo(list(JSON.stringify({ ...NODE, metadata: { ...NODE.metadata, name: "b" } })));

test("listNodes() asks for the next page as soon as it is named, and keeps the order of the pages", async () => {
  const { client, paths, answers } = slowClient(first, second);
  const listing = listNodes(client, reader, { signal });
  await new Promise(setImmediate);
  expect(paths).toHaveLength(2);
  answers[1]?.over.resolve(secondEnd);
  await new Promise(setImmediate);
  answers[0]?.over.resolve(firstEnd);
  expect((await listing).nodes.map(({ name }) => name)).toEqual(["a", "b"]);
});

test("listNodes() fails by the page that failed, also if the one before is not there yet, and leaves no call behind", async () => {
  const ahead = slowClient(first, second);
  const listing = listNodes(ahead.client, reader, { signal });
  await new Promise(setImmediate);
  ahead.answers[1]?.over.reject(new Error("the second page is gone"));
  await new Promise(setImmediate);
  ahead.answers[0]?.over.resolve(firstEnd);
  await expect(listing).rejects.toThrow("the second page is gone");

  const behind = slowClient(first, second);
  const failing = listNodes(behind.client, reader, { signal });
  await new Promise(setImmediate);
  behind.answers[0]?.over.reject(new Error("the first page was cut off"));
  await expect(failing).rejects.toThrow("the first page was cut off"); // the second, which never ends, was given up
});

test.each(["", "<html>", '{"kind":"Status"}', list("{}"), list('{"metadata":{"name":"a"}}')])(
  "listNodes() refuses the answer %j",
  async (answer) => {
    await expect(listNodes(clientOf(answer).client, reader, { signal })).rejects.toThrow(
      /^https:\/\/api: it answered with/,
    );
  },
);
