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

test.each(["", "<html>", '{"kind":"Status"}', list("{}"), list('{"metadata":{"name":"a"}}')])(
  "listNodes() refuses the answer %j",
  async (answer) => {
    await expect(listNodes(clientOf(answer).client, reader, { signal })).rejects.toThrow(
      /^https:\/\/api: it answered with/,
    );
  },
);
