// Every way to the API server that a kubeconfig can name.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { waitUntil } from "../../src/lab/wait.ts";
import { InvalidConfigError } from "../../src/lib/errors.ts";
import { failure } from "../../src/store/conformance/registry-bench.ts";
import { makeCertificates } from "../support/certificates.ts";
import { deafServer } from "../support/deaf-server.ts";
import { freePort } from "../support/free-port.ts";
import { AccessBench } from "./access-bench.ts";
import { FakeApiServer } from "./fake-api-server.ts";

let bench: AccessBench;
beforeAll(async () => {
  bench = await AccessBench.start();
});
afterAll(() => bench[Symbol.asyncDispose]());

const { signal } = new AbortController();

test("a server is reached through the proxy that the kubeconfig names, with TLS to the server itself", async () => {
  const asked: string[] = [];
  const proxy = createServer().on("connect", ({ url = "" }, socket) => {
    asked.push(url);
    const [host = "", port] = url.split(":");
    const there = connect(Number(port), host, () => socket.write("HTTP/1.1 200 Connection established\r\n\r\n"));
    socket.pipe(there).pipe(socket);
    for (const each of [socket, there]) each.on("error", () => each.destroy());
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  onTestFinished(() => void proxy.close());
  const cluster = { "proxy-url": `http://127.0.0.1:${(proxy.address() as AddressInfo).port}` };
  expect(await bench.reads(await bench.kubeconfig({ token: bench.admit("by-proxy"), cluster }))).toBe("let in");
  expect(await bench.reads(await bench.kubeconfig({ ...bench.authority.client, cluster }))).toBe("let in");
  expect(new Set(asked)).toEqual(new Set([new URL(bench.api.url).host]));
  const other = makeCertificates(bench.directory, "proxied");
  const access = await bench.kubeconfig({ token: bench.admit("by-proxy"), ca: other.ca, cluster });
  expect(String(await bench.reads(access))).toMatch(/StoreRefusedError: .*: TLS: /);
});

/** Debian's microsocks, a SOCKS5 server. @returns its port, and what it says of each connection: `connected to 127.0.0.1:6443` */
async function socksServer(...args: readonly string[]): Promise<{ readonly port: number; readonly log: () => string }> {
  const port = await freePort();
  const child: ChildProcess = spawn("microsocks", ["-i", "127.0.0.1", "-p", String(port), ...args], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  let log = "";
  child.stderr?.on("data", (data) => (log += String(data)));
  const answers = async () => {
    const socket = connect(port, "127.0.0.1");
    await once(socket, "connect");
    socket.destroy();
    return true;
  };
  await waitUntil(answers, { signal, within: 20_000, what: "microsocks listens" });
  return { port, log: () => log };
}

test("a server is reached through a SOCKS5 proxy, which looks its name up, with TLS to the server itself", async () => {
  const { port, log } = await socksServer();
  const { port: apiPort } = bench.api;
  const token = bench.admit("by-socks");
  for (const scheme of ["socks5", "socks5h"]) {
    const proxy = { "proxy-url": `${scheme}://127.0.0.1:${port}` };
    expect(await bench.reads(await bench.kubeconfig({ token, cluster: proxy }))).toBe("let in");
    expect(await bench.reads(await bench.kubeconfig({ ...bench.authority.client, cluster: proxy }))).toBe("let in");
    const byName = { ...proxy, server: `https://localhost:${apiPort}` };
    expect(await bench.reads(await bench.kubeconfig({ token, cluster: byName }))).toBe("let in");
  }
  const asked = log()
    .matchAll(/connected to (.*)/g)
    .map(([, name]) => name);
  const [address, name] = [`127.0.0.1:${apiPort}`, `localhost:${apiPort}`];
  expect([...asked]).toEqual([address, address, name, address, address, name]);
});

test("a SOCKS5 proxy is shown the name and the password that its URL has", async () => {
  const { port } = await socksServer("-u", "node", "-P", "pass:word");
  const token = bench.admit("by-socks-password");
  const says = async (who: string) => {
    const cluster = { "proxy-url": `socks5://${who}127.0.0.1:${port}` };
    return String(await bench.reads(await bench.kubeconfig({ token, cluster })));
  };
  expect(await says("node:pass%3Aword@")).toBe("let in");
  for (const who of ["node:other@", ""]) expect(await says(who)).toMatch(/StoreUnavailableError: .*Socks5/);
});

test("behind a SOCKS5 proxy the server must have a certificate for the address that it is asked at", async () => {
  const { port } = await socksServer();
  const read = (path: string) => readFileSync(path, "utf8");
  const { server } = bench.authority;
  const tls = { cert: read(server.cert), key: read(server.key) };
  await using elsewhere = await FakeApiServer.start({ tls, host: "127.0.0.5" });
  const cluster = { server: elsewhere.url, "proxy-url": `socks5://127.0.0.1:${port}` };
  const says = async (more: object) =>
    String(
      await bench.reads(await bench.kubeconfig({ token: elsewhere.adminToken, cluster: { ...cluster, ...more } })),
    );
  expect(await says({})).toMatch(/StoreRefusedError: .*: TLS: .*127\.0\.0\.5/);
  expect(await says({ "tls-server-name": "localhost" })).not.toContain("TLS");
  expect(await says({ "insecure-skip-tls-verify": true })).not.toContain("TLS");
});

test("an API server, or a proxy before it, that does not even take a connection is given up after 15 s", async () => {
  using deaf = await deafServer();
  const server = `https://127.0.0.1:${deaf.port}`;
  const ways = [
    { server },
    ...["http", "socks5"].map((scheme) => ({ "proxy-url": `${scheme}://127.0.0.1:${deaf.port}` })),
  ];
  const before = performance.now();
  const says = await Promise.all(
    ways.map(async (cluster) => String(await bench.reads(await bench.kubeconfig({ token: "any", cluster })))),
  );
  const took = performance.now() - before;
  for (const each of says) expect(each).toMatch(/StoreUnavailableError: .*: no answer within 15 s/);
  expect(took).toBeGreaterThan(14_000);
  expect(took).toBeLessThan(25_000);
});

test.each(["ftp://proxy:21", "proxy:3128", "user:secret@proxy:3128", 5])(
  "a proxy-url that names none is refused, and a password in it not told: %j",
  async (url) => {
    const error = await failure(bench.kubeconfig({ cluster: { "proxy-url": url } }));
    expect(error).toBeInstanceOf(InvalidConfigError);
    expect(String(error)).toMatch(/--kubeconfig-file: .*proxy-url .*must be http:\/\/…, https:\/\/… or socks5:\/\/…/);
    expect(String(error)).not.toContain("secret");
  },
);
