// A whole control plane without etcd: one flannel server on an embedded store, hosts that only know its address.
import { cpSync, mkdtempSync, rmSync } from "node:fs";
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
import { ceiling, complaints, hostsOf, PATIENCE, subnetOf, unanswered, untilPing, withPod } from "./hosts.ts";

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
    { signal, within: PATIENCE, what: "every host has the server back" },
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
  const isTold = () => [b, c].every((peer) => a.daemon.log().includes(subnetOf(peer)));
  await waitUntil(isTold, { signal, within: PATIENCE, what: "the log tells of the other hosts" });
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
      within: PATIENCE,
      what: "the revoked lease is gone",
    });
  });
  expect(lost).toBe(0);
  expect(lines() - before).toBeLessThanOrEqual(4);
  expect(await flannel(lab, "lease", "ls")).not.toContain(subnetOf(c));
});

const SERIAL = ["openssl", "x509", "-noout", "-serial"];

test("client certificates: who has none, an expired or a revoked one is refused by name, rotated ones are used; neither a host nor the server restarts, no ping is lost", async () => {
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
  const crl = join(directory, "list.pem");
  cpSync(authority.revoke(), crl);
  server.argv = [...server.argv, ...tls(authority.server), `--remote-crlfile=${crl}`, "--remote-authz=cn"];
  await server.restart("SIGTERM", { signal });
  const [a, b, c] = lab.hosts;
  if (a === undefined || b === undefined || c === undefined) throw new Error("no hosts");
  for (const host of [a, b]) {
    host.daemon.argv = [...host.daemon.argv, ...tls(authority.issueClient(host.name))];
    await host.startDaemon();
    await host.addPod();
  }
  const withoutTls = c.daemon.argv;
  const says = (service: { log(): string }, what: RegExp) =>
    waitUntil(() => what.test(service.log()), { signal, within: PATIENCE, what: `a line with ${what}` });
  c.daemon.argv = [...withoutTls, `--remote-cafile=${authority.ca}`];
  await c.daemon.start();
  await says(c.daemon, /a client certificate is needed/);
  await says(server, /a client is refused .*a client certificate is needed/);
  await c.daemon.stop("SIGTERM");
  c.daemon.argv = [...withoutTls, ...tls(authority.issueClient("expired-host", ["-days", "-1"]))];
  await c.daemon.start();
  await says(c.daemon, /expired-host\S* is refused: CERT_HAS_EXPIRED/);
  await says(server, /a client is refused .*subject=expired-host .*CERT_HAS_EXPIRED/);
  await c.daemon.stop("SIGTERM");
  const revoked = authority.issueClient(c.name);
  c.daemon.argv = [...withoutTls, ...tls(revoked)];
  await c.startDaemon();
  await c.addPod();
  expect(await unanswered(lab)).toEqual([]);
  expect(complaints(a)).toEqual([]);

  const daemons = [server, a.daemon, b.daemon];
  const pids = daemons.map(({ pid }) => pid);
  const { lost } = await pingDuring(withPod(b).pod, { to: withPod(a).pod.address, signal }, async () => {
    authority.renewServer();
    const serial = await lab.switch.namespace.run([...SERIAL, "-in", authority.server.cert]);
    const shown = `timeout 5 openssl s_client -connect ${formatAddress(lab.switch.address)}:8888 </dev/null | ${SERIAL.join(" ")}`;
    await waitUntil(async () => (await lab.switch.namespace.exec(["sh", "-c", shown], { signal })).stdout === serial, {
      signal,
      within: PATIENCE,
      what: "the server shows its new certificate",
    });
    // a's certificate is replaced in its files, and the former one revoked: a goes on only with the new one.
    const former = join(directory, "former.pem");
    cpSync(join(directory, `lab-${a.name}.pem`), former);
    authority.issueClient(a.name);
    cpSync(authority.revoke(former, revoked.cert), crl);
    await says(server, new RegExp(`a client is refused .*subject=${c.name} .*CERT_REVOKED`));
    await says(c.daemon, /is refused: CERT_REVOKED/);
    await lab.switch.namespace.run([
      launcher("flannel"),
      "lease",
      "revoke",
      subnetOf(c),
      `--embedded-store=${lab.store.file}`,
    ]);
    for (const host of [a, b])
      await waitUntil(async () => !(await host.namespace.run(["ip", "route"])).includes(subnetOf(c)), {
        signal,
        within: PATIENCE,
        what: `${host.name} hears of c's end`,
      });
  });
  expect(lost).toBe(0);
  expect(server.log()).not.toMatch(new RegExp(`a client is refused .*subject=(${a.name}|${b.name}) `));
  expect(daemons.map(({ pid }) => pid)).toEqual(pids);
});
