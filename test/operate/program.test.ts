// What flanneld tells the service manager, from its start to its end.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { waitUntil } from "../../src/lab/wait.ts";
import { flannel, flanneld, outcome, run, temporaryDirectory, waitingFlanneld } from "../cli/program.ts";
import { ServiceManager } from "./service-manager.ts";

const { signal } = new AbortController();
const CONFIG = '{"Network":"10.5.0.0/16"}';

function managed() {
  const directory = temporaryDirectory();
  onTestFinished(() => directory[Symbol.dispose]());
  const manager = new ServiceManager(join(directory.path, "notify"));
  onTestFinished(() => manager[Symbol.dispose]());
  const start = (args: readonly string[], env: Record<string, string> = {}, by: readonly string[] = []) => {
    const [program = "", ...argv] = [...by, flanneld, ...args];
    const child = spawn(program, argv, {
      cwd: "/",
      env: { ...manager.start().env, PATH: "/usr/bin:/bin", ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    onTestFinished(async () => {
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    });
    return child;
  };
  const told = (what: string | RegExp) =>
    waitUntil(() => manager.messages.some((each) => (typeof what === "string" ? each === what : what.test(each))), {
      signal,
      within: 20_000,
      what: `flanneld tells ${what}`,
    });
  return { directory: directory.path, manager, start, told };
}

async function ends(child: ChildProcess): Promise<number | string> {
  const ended = outcome(child);
  child.kill("SIGTERM");
  return (await ended).end;
}

test("flanneld tells what it waits for, and that it is stopping, which is the last it tells", async () => {
  const { directory, manager, start, told } = managed();
  const child = start(waitingFlanneld(directory));
  await told("STATUS=Starting.");
  await told(/^STATUS=Waiting for a usable network config: no network config at /);
  expect(await ends(child)).toBe(0);
  await told("STOPPING=1\nSTATUS=Stopping.");
  expect(manager.messages.at(-1)).toBe("STOPPING=1\nSTATUS=Stopping.");
  expect(manager.messages.join("\n")).not.toMatch(/READY=1|WATCHDOG=1/);
});

test("flanneld says why it waits if the store is away", async () => {
  const { directory, start, told } = managed();
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { readonly port: number };
  server.close();
  await once(server, "close");
  start([...waitingFlanneld(directory).slice(1), `--etcd-endpoints=http://127.0.0.1:${port}`]);
  await told(/^STATUS=Starting. The store is away since 20[-0-9:T]{17}Z: .*ECONNREFUSED/);
});

test("flanneld as a server tells where it serves, and how many wait", async () => {
  const { directory, start, told } = managed();
  const store = [`--embedded-store=${join(directory, "store.db")}`, `--state-dir=${join(directory, "state")}`];
  await run(flannel, ["config", "set", CONFIG, ...store]);
  const child = start([...store, "--listen=127.0.0.1:0"]);
  await told("READY=1");
  await told(
    /^STATUS=Serving leases of embedded store .* at 127\.0\.0\.1:\d+ without TLS; 0 clients waiting for changes\.$/,
  );
  expect(await ends(child)).toBe(0);
});

test("flanneld with several networks names those that are up, and is never ready", async () => {
  const { directory, manager, start, told } = managed();
  const store = `--embedded-store=${join(directory, "store.db")}`;
  await run(flannel, [
    "config",
    "set",
    '{"Network":"10.61.0.0/16","Backend":{"Type":"alloc"}}',
    store,
    "--network=blue",
  ]);
  start([...waitingFlanneld(directory), "--networks=blue,green", `--subnet-dir=${join(directory, "networks")}`]);
  await told(
    /^STATUS=1 of 2 networks are up: blue \(10\.61\.\d+\.0\/24, 0 peers\); green is waiting for a usable network config: /,
  );
  expect(manager.messages).not.toContain("READY=1");
});

test.each([
  ["no pid is named", {}, true],
  ["another process is meant", { WATCHDOG_PID: "1" }, false],
])("flanneld tells within WATCHDOG_USEC that it is well, if %s: %j", async (_, env, isMeant) => {
  const { directory, manager, start, told } = managed();
  const child = start(waitingFlanneld(directory), { WATCHDOG_USEC: "400000", ...env });
  await told(/^STATUS=Waiting/);
  const count = () => manager.messages.filter((each) => each === "WATCHDOG=1").length;
  if (isMeant) {
    const before = count();
    await waitUntil(() => count() > before + 4, { signal, within: 20_000, what: "it goes on to tell" });
    child.kill("SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, 500));
    const stopped = count();
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(count()).toBe(stopped);
    child.kill("SIGCONT");
    await waitUntil(() => count() > stopped, { signal, within: 20_000, what: "it goes on" });
  } else expect(count()).toBe(0);
});
