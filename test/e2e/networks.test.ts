// Several networks on each host, by way of a flannel server.
import { mkdirSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { openSqliteRegistry } from "../../src/store/sqlite/sqlite-registry.ts";
import { ipJson } from "../support/kernel-state.ts";
import { pingDuring } from "../support/pings.ts";
import { directoryOf, envOf, inhabit } from "./several-networks.ts";

const { signal } = new AbortController();
/** Three daemons that start at once, each with some networks, on a busy machine. */
const PATIENCE = 30_000;

async function says(host: LabHost, text: RegExp): Promise<void> {
  await waitUntil(() => text.test(host.daemon.log()), {
    signal,
    within: PATIENCE,
    what: `${host.name}'s log says ${text}`,
  });
}

test("three networks live side by side: one appears later, one is broken, one wants what another has; the others lose no ping", async () => {
  await using lab = await Lab.up({ hosts: 3, pods: 0, daemons: false, store: "server", config: null, signal });
  const { file } = lab.store;
  if (file === undefined) throw new Error("no file");
  await using registry = await openSqliteRegistry(file, { clock: systemClock, logger: silentLogger }, { signal });
  const configure = (network: string, config: unknown) =>
    registry.setConfig(network, typeof config === "string" ? config : JSON.stringify(config), { signal });
  await configure("blue", { Network: "10.61.0.0/16", Backend: { Type: "vxlan", VNI: 1 } });
  await configure("green", { Network: "10.62.0.0/16", Backend: { Type: "vxlan", VNI: 2 } });
  await configure("broken", '{"Network":');
  await configure("greedy", { Network: "10.63.0.0/16", Backend: { Type: "vxlan", VNI: 1 } });
  for (const host of lab.hosts) {
    mkdirSync(directoryOf(host), { recursive: true });
    host.daemon.argv = [
      ...host.daemon.argv,
      "--networks=blue,green,red,broken,greedy",
      `--subnet-dir=${directoryOf(host)}`,
    ];
    await host.daemon.start();
  }
  const published = (...networks: readonly string[]) =>
    waitUntil(() => lab.hosts.every((host) => networks.every((network) => envOf(host, network) !== undefined)), {
      signal,
      within: PATIENCE,
      what: `${networks.join(" and ")} on every host`,
    });
  await published("green");
  await waitUntil(
    () => lab.hosts.every((host) => envOf(host, "blue") !== undefined || envOf(host, "greedy") !== undefined),
    {
      signal,
      within: PATIENCE,
      what: "one of the two with VNI 1 on every host",
    },
  );
  const [a, b, c] = lab.hosts;
  if (a === undefined || b === undefined || c === undefined) throw new Error("no hosts");
  await says(a, /broken.*it is not JSON|it is not JSON.*broken/);
  await says(a, /VNI 1 is that of network/);

  const there = await inhabit(a, "green");
  await inhabit(b, "green");
  const from = await inhabit(c, "green");
  expect(from).not.toBe(there);
  const { lost } = await pingDuring(b, { to: there, signal }, async () => {
    await configure("red", { Network: "10.64.0.0/16", Backend: { Type: "host-gw" } });
    await published("red");
    const to = await inhabit(a, "red");
    await inhabit(c, "red");
    await waitUntil(async () => (await c.exec(["ping", "-n", "-c1", "-W0.2", to], { signal })).code === 0, {
      signal,
      within: PATIENCE,
      what: "c reaches a in red",
    });
    await configure("broken", { Network: "10.65.0.0/16", Backend: { Type: "alloc" } });
    await published("broken");
    await a.daemon.stop("SIGTERM");
    await a.daemon.start();
  });
  expect(lost).toBe(0);
  const names = (await ipJson(b, "link")).map((link) => link["ifname"]);
  expect(names).toEqual(expect.arrayContaining(["flannel.1", "flannel.2"]));
});

test("--watch-networks joins what comes and clears away what goes, while another network loses no ping", async () => {
  await using lab = await Lab.up({ hosts: 3, pods: 0, daemons: false, store: "server", config: null, signal });
  const { file, server } = lab.store;
  if (file === undefined || server === undefined) throw new Error("no file");
  await using registry = await openSqliteRegistry(file, { clock: systemClock, logger: silentLogger }, { signal });
  const configure = (network: string, config: unknown) =>
    registry.setConfig(network, JSON.stringify(config), { signal });
  await configure("blue", { Network: "10.61.0.0/16", Backend: { Type: "vxlan", VNI: 1 } });
  for (const host of lab.hosts) {
    host.daemon.argv = [...host.daemon.argv, "--watch-networks", "--ip-masq", `--subnet-dir=${directoryOf(host)}`];
    await host.daemon.start();
  }
  const everywhere = (what: string, condition: (host: LabHost) => boolean | Promise<boolean>) =>
    waitUntil(async () => (await Promise.all(lab.hosts.map(async (host) => await condition(host)))).every(Boolean), {
      signal,
      within: PATIENCE,
      what,
    });
  await everywhere("blue", (host) => envOf(host, "blue") !== undefined);
  const [a, b] = lab.hosts;
  if (a === undefined || b === undefined) throw new Error("no hosts");
  const to = await inhabit(a, "blue");
  await inhabit(b, "blue");
  const { lost } = await pingDuring(b, { to, signal }, async () => {
    await configure("green", { Network: "10.62.0.0/16", Backend: { Type: "vxlan", VNI: 2 } });
    await configure("red", { Network: "10.64.0.0/16", Backend: { Type: "host-gw" } });
    await configure("cyan", { Network: "10.65.0.0/16", Backend: { Type: "udp" } });
    await configure("pink", { Network: "10.66.0.0/16", Backend: { Type: "udp", Port: 8286 } });
    const others = ["green", "red", "cyan", "pink"];
    await everywhere("the others", (host) => others.every((network) => envOf(host, network) !== undefined));
    const isThere = async (host: LabHost) => {
      const rules = host.run(["nft", "list", "ruleset"]);
      const [links, routes] = await Promise.all([ipJson(host, "link"), ipJson(host, "route")]);
      return (
        /\b10\.6[2456]\.0\.0\/16/.test(await rules) ||
        links.some((link) => /^flannel(\.2|[01])$/.test(String(link["ifname"]))) ||
        routes.some((route) => /^10\.6[2456]\./.test(String(route["dst"]))) ||
        others.some((network) => envOf(host, network) !== undefined)
      );
    };
    await everywhere("routes of these", isThere);
    await everywhere("rules of these", async (host) =>
      /\b10\.62\.0\.0\/16/.test(await host.run(["nft", "list", "ruleset"])),
    );
    for (const host of lab.hosts)
      expect(new Set((await ipJson(host, "link", "show", "type", "tun")).map((link) => link["ifname"]))).toEqual(
        new Set(["flannel0", "flannel1"]),
      );
    {
      using db = new DatabaseSync(file);
      db.exec("DELETE FROM config WHERE network <> 'blue'; UPDATE store SET revision = revision + 1;");
    }
    await everywhere("nothing of the others", async (host) => !(await isThere(host)));
  });
  expect(lost).toBe(0);
  await says(a, /network was removed, and all of it from this host/);
  expect((await ipJson(a, "link")).map((link) => link["ifname"])).toContain("flannel.1");

  // A listing without a network, as of a store that was restored, is no removal.
  const kept = await pingDuring(b, { to, signal }, async () => {
    await server.stop("SIGKILL");
    {
      using db = new DatabaseSync(file);
      db.exec("DELETE FROM config WHERE network = 'blue'; UPDATE store SET revision = revision + 1;");
    }
    await configure("late", { Network: "10.67.0.0/16", Backend: { Type: "alloc" } });
    await server.restart("SIGTERM", { signal });
    await everywhere("the network that was listed alone", (host) => envOf(host, "late") !== undefined);
  });
  expect(kept.lost).toBe(0);
  for (const host of lab.hosts) {
    expect(envOf(host, "blue")).toBeDefined();
    expect(host.daemon.log()).not.toMatch(/network was removed.*blue|blue.*network was removed/);
  }
});
