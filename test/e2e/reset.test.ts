import { copyFileSync, rmSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { labDirectory } from "../../src/lab/record.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { pingDuring } from "../support/pings.ts";
import { hostsOf, PATIENCE, subnetOf, untilPing } from "./hosts.ts";

const { signal } = new AbortController();

async function leases(lab: Lab): Promise<string> {
  return lab.store.kind === "etcd2"
    ? await lab.store.etcdctl("ls", "--recursive", "/coreos.com/network/subnets").catch(() => "")
    : await lab.store.etcdctl("get", "--prefix", "--keys-only", "/coreos.com/network/subnets/");
}

for (const store of ["etcd2", "etcd3"] as const) {
  test(`running pods keep talking while ${store} is wiped and comes back empty, and hosts take the same subnets again`, async () => {
    await using lab = await Lab.up({ hosts: 3, backend: "vxlan", store, signal });
    const [a, b, c] = hostsOf(lab, 3);
    if (a === undefined || b === undefined || c === undefined) throw new Error("no hosts");
    await untilPing(a.pod, b.pod);
    const before = lab.hosts.map(subnetOf);
    const { lost } = await pingDuring(b.pod, { to: a.pod.address, signal }, async () => {
      await lab.store.server?.stop("SIGKILL");
      rmSync(`${labDirectory(lab.name)}/store`, { recursive: true });
      await lab.store.start();
      await delay(2_000); // an empty store, not even a config
      await lab.setConfig();
      await waitUntil(
        async () => {
          const now = await leases(lab);
          return before.every((subnet) => now.includes(subnet.replace("/", "-")));
        },
        { signal, within: PATIENCE, what: "all subnets are leased again", every: 100 },
      );
      await delay(500);
    });
    expect(lost).toBe(0);
    expect(lab.hosts.map(subnetOf)).toEqual(before);
    await untilPing(a.pod, c.pod);
  });

  test(`running pods keep talking when every lease in ${store} is deleted at once`, async () => {
    await using lab = await Lab.up({ hosts: 3, backend: "host-gw", store, signal });
    const [a, b] = hostsOf(lab, 2);
    if (a === undefined || b === undefined) throw new Error("no hosts");
    await untilPing(a.pod, b.pod);
    const before = lab.hosts.map(subnetOf);
    await lab.store.etcdctl(
      ...(store === "etcd2" ? ["rm", "--recursive"] : ["del", "--prefix"]),
      "/coreos.com/network/subnets",
    );
    await waitUntil(
      async () => {
        const now = await leases(lab);
        return before.every((subnet) => now.includes(subnet.replace("/", "-")));
      },
      { signal, within: PATIENCE, what: "all subnets are leased again", every: 100 },
    );
    expect(lab.hosts.map(subnetOf)).toEqual(before);
    await untilPing(a.pod, b.pod);
  });
}

test("running pods keep talking when the embedded store is restored from an old backup", async () => {
  await using lab = await Lab.up({ hosts: 2, backend: "vxlan", signal });
  const [a, b] = hostsOf(lab, 2);
  const { file } = lab.store;
  if (a === undefined || b === undefined || file === undefined) throw new Error("no hosts");
  // The backup knows the first two hosts only.
  {
    using database = new DatabaseSync(file);
    database.exec(`VACUUM INTO '${file}.backup'`);
  }
  const late = await lab.addHost();
  const [latePod] = late.pods;
  if (latePod === undefined) throw new Error("no pod");
  await untilPing(a.pod, latePod);
  const { lost } = await pingDuring(a.pod, { to: latePod.address, signal }, async () => {
    for (const suffix of ["-wal", "-shm"]) rmSync(`${file}${suffix}`, { force: true });
    rmSync(file);
    copyFileSync(`${file}.backup`, file);
    await delay(5_000);
  });
  expect(lost).toBe(0);
  await untilPing(latePod, b.pod);
});
