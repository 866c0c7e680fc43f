// A whole control plane without etcd: one flannel server on an embedded store, hosts that only know its address.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { formatAddress } from "../../src/ip/address.ts";
import { Lab } from "../../src/lab/lab.ts";
import { launcher } from "../../src/lab/launcher.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { makeCertificates } from "../support/certificates.ts";
import { pingDuring } from "../support/pings.ts";
import { flannel } from "./flannel.ts";
import { ceiling, complaints, hostsOf, subnetOf, untilPing, withPod } from "./hosts.ts";

const { signal } = new AbortController();

test("the server restarts, is killed and its file copied: no ping is lost, leases and clients survive", async () => {
  await using lab = await Lab.up({ hosts: 3, backend: "vxlan", store: "server", signal });
  const [a, b, c] = hostsOf(lab, 3);
  const { server, file } = lab.store;
  if (a === undefined || b === undefined || c === undefined || server === undefined || file === undefined)
    throw new Error("no hosts");
  const subnets = [a, b, c].map(subnetOf);
  const { lost } = await pingDuring(b.pod, { to: a.pod.address, signal }, async () => {
    await server.restart("SIGTERM", { signal });
    await untilBack(lab, 1);
    await lab.switch.namespace.run([
      launcher("flannel"),
      "store",
      "backup",
      `${file}.copy`,
      `--embedded-store=${file}`,
    ]);
    await server.restart("SIGKILL", { signal });
    await untilBack(lab, 2);
  });
  expect(lost).toBe(0);
  const late = withPod(await lab.addHost());
  for (const host of [a, b, c]) await untilPing(host.pod, late.pod, ceiling(1_000));
  expect([a, b, c].map(subnetOf)).toEqual(subnets);
  const copy = await lab.switch.namespace.run([process.execPath, "-e", INTEGRITY, `${file}.copy`]);
  expect(copy.trim()).toBe("ok 3");
});

/** Waits until every host has a connection to the server again: then a change reaches it at once. */
async function untilBack(lab: Lab, times: number): Promise<void> {
  await waitUntil(
    () => lab.hosts.every((host) => (host.daemon.log().match(/the store is back/g) ?? []).length >= times),
    { signal, within: 15_000, what: "every host has the server back" },
  );
}

const INTEGRITY = `
  const db = new (require("node:sqlite").DatabaseSync)(process.argv[1]);
  console.log(db.prepare("PRAGMA integrity_check").get().integrity_check, db.prepare("SELECT count(*) AS n FROM lease").get().n);`;

test("the server away for long costs no traffic and two lines of log a host, and what changed meanwhile is there after", async () => {
  await using lab = await Lab.up({ hosts: 3, backend: "host-gw", store: "server", signal });
  const [a, b, c] = hostsOf(lab, 3);
  const { server, file } = lab.store;
  if (a === undefined || b === undefined || c === undefined || server === undefined || file === undefined)
    throw new Error("no hosts");
  const lines = () => a.daemon.log().split("\n").length;
  const before = lines();
  const { lost } = await pingDuring(b.pod, { to: a.pod.address, signal }, async () => {
    await server.stop("SIGKILL");
    await delay(8_000);
    await c.daemon.stop("SIGKILL");
    const at = `--embedded-store=${file}`;
    await lab.switch.namespace.run([launcher("flannel"), "lease", "revoke", subnetOf(c), at]);
    await server.start();
    await server.ready();
    await waitUntil(async () => !(await a.namespace.run(["ip", "route"])).includes(subnetOf(c)), {
      signal,
      within: 10_000,
      what: "the revoked lease is gone",
    });
  });
  expect(lost).toBe(0);
  expect(lines() - before).toBeLessThanOrEqual(4);
  expect(await flannel(lab, "lease", "ls")).not.toContain(subnetOf(c));
});

test("three hosts with client certificates ping each other; a host without is told why not", async () => {
  await using lab = await Lab.up({ hosts: 3, pods: 0, daemons: false, backend: "vxlan", store: "server", signal });
  const directory = mkdtempSync(join(tmpdir(), "server-tls-"));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rmSync(directory, { recursive: true }));
  const authority = makeCertificates(directory, "lab", [formatAddress(lab.switch.address)]);
  const { server } = lab.store;
  if (server === undefined) throw new Error("no server");
  const tls = ({ cert, key }: { readonly cert: string; readonly key: string }) => [
    `--remote-cafile=${authority.ca}`,
    `--remote-certfile=${cert}`,
    `--remote-keyfile=${key}`,
  ];
  server.argv = [...server.argv, ...tls(authority.server), "--remote-authz=cn"];
  await server.restart("SIGTERM", { signal });
  const [a, b, c] = lab.hosts;
  if (a === undefined || b === undefined || c === undefined) throw new Error("no hosts");
  for (const host of [a, b]) {
    host.daemon.argv = [...host.daemon.argv, ...tls(authority.issueClient(host.name))];
    await host.startDaemon();
    await host.addPod();
  }
  c.daemon.argv = [...c.daemon.argv, `--remote-cafile=${authority.ca}`];
  await c.daemon.start();
  await waitUntil(() => c.daemon.log().includes("a client certificate is needed"), {
    signal,
    within: 10_000,
    what: "the host is told why it is refused",
  });
  expect(server.log()).toContain("a client is refused");
  await c.daemon.stop("SIGTERM");
  c.daemon.argv = [...c.daemon.argv, ...tls(authority.issueClient(c.name))];
  await c.startDaemon();
  await c.addPod();
  expect((await lab.ping()).filter((result) => result.time === undefined)).toEqual([]);
  expect(complaints(a)).toEqual([]);
});
