import { closeSync, mkdtempSync, openSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { sendDatagram } from "../../src/kernel/datagram.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { distinct, Place, range } from "./daemons.ts";
import { ServiceManager } from "./service-manager.ts";

// Needs root for network namespaces.

/** A host with a service manager. */
function place(): { readonly host: Place; readonly manager: ServiceManager } {
  const host = new Place();
  onTestFinished(() => host[Symbol.dispose]());
  const manager = new ServiceManager(join(host.directory, "notify"));
  onTestFinished(() => manager[Symbol.dispose]());
  return { host, manager };
}

test.each(["SIGTERM", "SIGKILL", "crash"] as const)(
  "StoreKeeper loses no datagram that is sent while no daemon runs, after %s",
  async (how) => {
    const { host, manager } = place();
    const first = host.start(manager.start());
    await first.says("kept");
    await host.sent(1, 20);
    await first.until(() => first.got.length === 20 && manager.stored.length === 1, "20 datagrams");
    await first.end(how);
    expect(host.holders).toEqual([]);
    await host.sent(21, 120);
    const second = host.start(manager.start());
    await second.says("taken");
    await host.sent(121, 130);
    await second.until(() => distinct(first, second).length >= 130, "all datagrams");
    expect(distinct(first, second)).toEqual(range(1, 130));
    expect(second.lines).toContain("environment: 0");
  },
);

test("StoreKeeper hands over from start to start, one descriptor at a time", async () => {
  const { host, manager } = place();
  for (let start = 1; start <= 4; start++) {
    const daemon = host.start(manager.start());
    await daemon.says("kept");
    expect(daemon.lines).toContain(start === 1 ? "bound" : "taken");
    await daemon.until(() => manager.messages.filter((each) => each.startsWith("FDSTORE=")).length === start, "stored");
    expect(manager.stored).toEqual(["handover.udp"]);
    await daemon.end("SIGKILL");
  }
});

test("openKeeper() under a service manager with a store takes what a daemon left that had none, and leaves no process", async () => {
  const { host, manager } = place();
  const first = host.start();
  await first.says("kept");
  await first.end("SIGTERM");
  await host.sent(1, 3);
  const second = host.start(manager.start());
  await second.says("taken");
  await second.until(() => second.got.length === 3, "what was sent meanwhile");
  await second.until(() => manager.stored.length === 1 && host.holders.length === 0, "the manager has it alone");
});

test("StoreKeeper keeps nothing with --handover-timeout=0, but takes what was kept", async () => {
  const { host, manager } = place();
  const first = host.start(manager.start());
  await first.until(() => manager.stored.length === 1, "the manager has it");
  await first.end("SIGTERM");
  await host.sent(1, 3);
  const second = host.start({ ...manager.start(), timeout: 0 });
  await second.says("taken");
  await second.until(() => second.got.length === 3 && manager.stored.length === 0, "datagrams; nothing kept");
});

test("openKeeper() has a process of ours keep descriptors as well if the service manager does not say that it has a store", async () => {
  const { host, manager } = place();
  const first = host.start(manager.start({ says: false }));
  await first.says("kept");
  expect(host.holders).toHaveLength(1);
  await first.until(() => manager.stored.length === 1, "the manager has it");
  await first.end("SIGKILL");
  await host.sent(1, 3);
  const { env = {} } = manager.start({ says: false });
  const second = host.start({ env: { NOTIFY_SOCKET: env["NOTIFY_SOCKET"] ?? "" } }); // which has lost it
  await second.until(() => second.got.length === 3, "what was sent meanwhile");
});

test.each([
  [{ LISTEN_FDS: "x" }, "LISTEN_FDS is"],
  [{ LISTEN_FDS: "9" }, "LISTEN_FDS is 9, but 8 of these are no sockets"],
])("takeInherited() makes the best of %j", async (lies, complaint) => {
  const { host, manager } = place();
  const first = host.start(manager.start());
  await first.until(() => manager.stored.length === 1, "the manager has it");
  await first.end("SIGTERM");
  const options = manager.start();
  const second = host.start({ ...options, env: { ...options.env, ...lies } });
  expect(await second.says("complaint")).toContain(complaint);
  if (lies.LISTEN_FDS === "9") await second.says("taken");
  else await second.says("failed: SystemCallError: bind: EADDRINUSE"); // it has it, and does not know
});

test("takeInherited() finds nothing to take over where names are missing", async () => {
  const { host, manager } = place();
  const first = host.start(manager.start());
  await first.until(() => manager.stored.length === 1, "the manager has it");
  await first.end("SIGTERM");
  const { LISTEN_FDNAMES: _, ...env } = manager.start().env ?? {};
  const second = host.start({ ...manager.start(), env, port: 9001 });
  await second.says("kept");
  expect(second.lines).toContain("bound");
});

test.each(["path", "abstract address"])("sendDatagram() passes descriptors along, to a %s", async (kind) => {
  const directory = mkdtempSync(join(tmpdir(), "flannel-rights-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const address = kind === "path" ? join(directory, "notify") : `@flannel-rights-${process.pid}`;
  using manager = new ServiceManager(address);
  const files = ["a", "b", "c"].map((name) => openSync(join(directory, name), "w"));
  sendDatagram(address, Buffer.from("FDSTORE=1\nFDNAME=many"), files);
  for (const fd of files) closeSync(fd);
  const { signal } = new AbortController();
  await waitUntil(() => manager.stored.length === 3, { signal, within: 20_000, what: "the manager has all three" });
  const { passed = [] } = manager.start();
  expect(passed.map((fd) => basename(readlinkSync(`/proc/self/fd/${fd}`)))).toEqual(["a", "b", "c"]);
});
