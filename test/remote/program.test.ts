// flanneld as a server: what its command line, the service manager and signals make of it. Needs systemd-socket-activate.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { NotifySocket } from "../../src/lab/notify-socket.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { flannel, flanneld, outcome, run, start, temporaryDirectory } from "../cli/program.ts";
import { freePort } from "../support/free-port.ts";
import { ask } from "./raw-http.ts";

const { signal } = new AbortController();
let children: ChildProcess[] = [];
let directory: ReturnType<typeof temporaryDirectory>;
beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(async () => {
  for (const child of children) {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  }
  children = [];
  directory[Symbol.dispose](); // nobody writes there any more
});

const store = () => [
  `--embedded-store=${join(directory.path, "s.db")}`,
  `--state-dir=${join(directory.path, "state")}`,
];

test("flanneld --listen tells READY=1 once it listens, answers, and ends with 0 by SIGTERM while clients wait", async () => {
  const port = await freePort();
  using notify = new NotifySocket(join(directory.path, "notify"));
  await run(flannel, ["config", "set", '{"Network":"10.5.0.0/16"}', ...store()]);
  const child = start(flanneld, [...store(), `--listen=127.0.0.1:${port}`], {
    env: { NOTIFY_SOCKET: notify.path },
  });
  children.push(child);
  await notify.ready({ signal });
  const { body } = await ask(port, "GET", "/v1/_/leases");
  const { cursor } = JSON.parse(body) as { readonly cursor: string };
  const waiting = ask(port, "GET", `/v1/_/leases?next=${cursor}`).catch((error: unknown) => error);
  expect((await ask(port, "GET", "/v1/_/config")).status).toBe(200);
  child.kill("SIGTERM");
  expect((await outcome(child)).end).toBe(0);
  expect(await waiting).toBeInstanceOf(Error);
});

test("flanneld --listen exits 1 if it cannot listen, and warns where anyone may come", async () => {
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const address = taken.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const failed = await run(flanneld, [...store(), `--listen=127.0.0.1:${address.port}`]);
  expect(failed).toMatchObject({ end: 1, stderr: expect.stringMatching(/--listen: .*EADDRINUSE/) as string });
  taken.close();
  const notActivated = await run(flanneld, [...store(), "--listen=fd://5"]);
  expect(notActivated).toMatchObject({
    end: 1,
    stderr: expect.stringContaining("fd://5 was not socket activated") as string,
  });
  const open = start(flanneld, [...store(), `--listen=:${await freePort()}`]);
  children.push(open);
  let log = "";
  open.stderr?.setEncoding("utf8").on("data", (text: string) => (log += text));
  await waitUntil(() => /^W.*listening beyond this host without TLS/m.test(log), {
    signal,
    within: 30_000,
    what: "the warning",
  });
});

test.each(["fd://", "fd://3"])("flanneld --listen=%s takes the service manager's socket", async (listen) => {
  await run(flannel, ["config", "set", '{"Network":"10.5.0.0/16"}', ...store()]);
  const port = await freePort();
  const argv = ["-l", `127.0.0.1:${port}`, flanneld, ...store(), `--listen=${listen}`];
  const child = spawn("systemd-socket-activate", argv, {
    stdio: ["ignore", "ignore", "pipe"],
    env: { PATH: "/usr/bin:/bin" },
  });
  children.push(child);
  await once(child.stderr, "data"); // it listens
  expect((await ask(port, "GET", "/v1/_/config")).status).toBe(200);
});

test("flannel works on leases and reservations through a server", async () => {
  const port = await freePort();
  using notify = new NotifySocket(join(directory.path, "notify"));
  await run(flannel, ["config", "set", '{"Network":"10.5.0.0/16"}', ...store()]);
  children.push(start(flanneld, [...store(), `--listen=127.0.0.1:${port}`], { env: { NOTIFY_SOCKET: notify.path } }));
  await notify.ready({ signal });
  const tool = (...args: readonly string[]) => run(flannel, [...args, `--remote=127.0.0.1:${port}`]);
  expect(await tool("reservation", "add", "10.5.77.0/24", "192.0.2.7")).toMatchObject({ end: 0 });
  expect((await tool("lease", "ls", "--json")).stdout).toContain("10.5.77.0/24");
  expect(await tool("reservation", "rm", "10.5.77.0/24")).toMatchObject({ end: 0 });
  expect(await tool("lease", "revoke", "10.5.77.0/24")).toMatchObject({ end: 0 });
  expect((await tool("config", "get")).stdout).toContain('"Network":"10.5.0.0/16"');
  expect(await tool("config", "set", '{"Network":"10.6.0.0/16"}')).toMatchObject({
    end: 1,
    stderr: expect.stringContaining("a flannel server takes no config") as string,
  });
});
