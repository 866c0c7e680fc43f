// The commands of docs/client-server.md and docs/multi-network.md, as they are written, on hosts that have nothing else. Needs root.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { root } from "../cli/program.ts";
import { OwnFiles } from "../support/own-files.ts";
import { blocksOf, lasting, PATIENCE, Typist } from "./typist.ts";

const { signal } = new AbortController();
const read = (file: string) => readFileSync(join(root, "docs", file), "utf8");

/** Makes the lab's hosts as the documents have them, 10.0.0.1 and so on, with one directory that commands are typed in. */
async function typists(lab: Lab, env: Readonly<Record<string, string>> = {}): Promise<readonly Typist[]> {
  const directory = mkdtempSync(join(tmpdir(), "documents-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return await Promise.all(
    lab.hosts.map(async (host, index) => {
      const lines = ["addr flush dev eth0", `addr add 10.0.0.${index + 1}/24 dev eth0`, "route add default dev eth0"];
      await host.namespace.ip(lines);
      const files = await OwnFiles.mount(host, directory);
      Object.assign(files.env, env);
      return new Typist(files);
    }),
  );
}

const LAB = { pods: 0, daemons: false, config: null, signal } as const;

test("docs/client-server.md: a server and hosts without etcd, then with certificates, then with a revoked one", async () => {
  const document = read("client-server.md");
  const [onServer, onHosts, ls, certificates, onServerByTls, onHostByTls, revocation, ...others] = blocksOf(document);
  expect(others).toEqual([]);
  await using lab = await Lab.up({ ...LAB, hosts: 2 });
  const [server, host] = await typists(lab);
  if (server === undefined || host === undefined) throw new Error("no hosts");
  await server.type(onServer);
  for (const each of [server, host]) await each.type(onHosts);
  await host.type(ls);
  for (const each of [host, server]) await each.stop();

  await server.type(certificates);
  await server.type(onServerByTls);
  await host.type(onHostByTls);
  await server.stop();
  const refusing = await server.type(revocation);
  const line = /^W\d{4} .* a client is refused .*$/m;
  const shown = line.exec(document)?.[0] ?? "";
  const written = await waitUntil(() => line.exec(refusing?.log() ?? "")?.[0], {
    signal,
    within: PATIENCE,
    what: "the revoked certificate is refused",
  });
  expect(shown).toContain("CERT_REVOKED");
  expect(lasting(written)).toBe(lasting(shown));
});

test("docs/multi-network.md: a host in two networks", async () => {
  const [onHost, ...others] = blocksOf(read("multi-network.md"));
  expect(others).toEqual([]);
  await using lab = await Lab.up({ ...LAB, hosts: 1 });
  const [host] = await typists(lab, { FLANNELD_EMBEDDED_STORE: "/var/lib/flannel/leases.db" });
  await host?.type(onHost, { tellsReady: false });
  await host?.stop();
});
