import { closeSync, existsSync, openSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { isAlive } from "../../src/kernel/process-id.ts";
import { BRIDGE_MAC } from "../../src/lab/address-plan.ts";
import { namespacesOf } from "../../src/lab/dismantle.ts";
import { Lab, type LabOptions } from "../../src/lab/lab.ts";
import { processesInNamespaces } from "../../src/lab/processes.ts";
import { labDirectory } from "../../src/lab/record.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { openSqliteRegistry } from "../../src/store/sqlite/sqlite-registry.ts";

const { signal } = new AbortController();
/** For one answer, on a machine that others load. */
const PATIENCE = 20_000;
const fakeDaemon = [process.execPath, join(import.meta.dirname, "fake-flanneld.mjs")];
const fake = { hosts: 2, config: null, flanneld: fakeDaemon, signal } satisfies LabOptions;

let lab: Lab | undefined;
afterEach(async () => {
  const { name } = lab ?? {};
  await lab?.down();
  lab = undefined;
  if (name !== undefined) expectNothingLeft(name);
});

function expectNothingLeft(name: Lab["name"]) {
  expect(namespacesOf(name)).toEqual([]);
  expect(existsSync(labDirectory(name))).toBe(false);
}

test("Lab.up() makes hosts that reach each other, and down() leaves no namespace, process or file", async () => {
  lab = await Lab.up({ hosts: 3, daemons: false, config: null, signal });
  expect(readdirSync("/run/netns")).toContain(`fl-${lab.name}-h3`);
  const [first, , third] = lab.hosts;
  expect((await first?.namespace.exec(["ping", "-c1", "-W10", third?.address ?? ""]))?.code).toBe(0);

  const paths = lab.hosts.map((host) => host.namespace.path);
  first?.spawn(["sh", "-c", "trap '' TERM; setsid sleep 1000 & sleep 1000"], { stdio: "ignore" });
  const strays = await waitUntil(() => atLeast(3, processesInNamespaces(paths)), {
    signal,
    what: "a shell that does not care for SIGTERM, and its children",
    within: 20_000,
  });
  await lab.down();
  expect(strays.filter(isAlive)).toEqual([]);
  expectNothingLeft(lab.name);
});

test("Lab.down() ends also what is started while it ends the others, as what keeps a daemon's descriptors", async () => {
  lab = await Lab.up({ hosts: 1, daemons: false, config: null, signal });
  const [host] = lab.hosts;
  const paths = lab.hosts.map(({ namespace }) => namespace.path);
  host?.spawn(["sh", "-c", "trap 'sleep 0.1; setsid sleep 1001 & exit' TERM; sleep 1000 & wait"], { stdio: "ignore" });
  await waitUntil(() => atLeast(2, processesInNamespaces(paths)), {
    signal,
    what: "a shell and its child",
    within: 20_000,
  });
  // What keeps the namespace would go on in there, under no name.
  const inside = openSync(host?.namespace.path ?? "", "r");
  try {
    await lab.down();
    expect(processesInNamespaces([`/proc/self/fd/${inside}`])).toEqual([]);
  } finally {
    closeSync(inside);
  }
});

test("Lab.up() puts nothing into the machine's own namespace", async () => {
  const before = readdirSync("/sys/class/net");
  lab = await Lab.up({ hosts: 1, daemons: false, config: null, signal });
  expect(readdirSync("/sys/class/net")).toEqual(before);
});

test("Lab.up() resolves once daemons are ready, with pods as subnet.env says", async () => {
  lab = await Lab.up({ ...fake, pods: 2 });
  expect(lab.hosts.map((host) => host.pods.map((pod) => pod.address))).toEqual([
    ["10.5.1.2", "10.5.1.3"],
    ["10.5.2.2", "10.5.2.3"],
  ]);
  const [host] = lab.hosts;
  expect(await host?.namespace.run(["ip", "-br", "addr", "show", "cni0"])).toContain("10.5.1.1/24");
  expect(await host?.pods[0]?.namespace.run(["ip", "link", "show", "eth0"])).toContain("mtu 1450");
});

test("Lab.ping() is the matrix of all pods, both directions", async () => {
  lab = await Lab.up(fake);
  const results = await lab.ping({ timeout: PATIENCE });
  expect(results.map(({ from, to }) => `${from} ${to}`)).toEqual(["h1/p1 h2/p1", "h2/p1 h1/p1"]);
  expect(results.every(({ time }) => time !== undefined && time < PATIENCE)).toBe(true);
});

test("Lab.ping() tells why there was no answer", async () => {
  lab = await Lab.up({ ...fake, flags: ["--no-routes"] });
  const [result] = await lab.ping({ timeout: 300 });
  expect(result).toMatchObject({ time: undefined, reason: expect.stringMatching(/Unreachable|no answer/) });
});

test("Lab.ping() of a size that does not fit says so", async () => {
  lab = await Lab.up(fake);
  expect((await lab.ping({ size: 1450, timeout: PATIENCE })).map(({ time }) => time === undefined)).toEqual([
    false,
    false,
  ]);
  expect((await lab.ping({ size: 1451 })).map(({ reason }) => reason)).toEqual([
    expect.stringContaining("mtu"),
    expect.stringContaining("mtu"),
  ]);
});

test("Lab.addHost() adds a host that pings the others", async () => {
  lab = await Lab.up(fake);
  const host = await lab.addHost();
  expect(host.name).toBe("h3");
  const mac = lab.switch.namespace.run(["cat", "/sys/class/net/br0/address"]);
  expect((await mac).trim()).toBe(BRIDGE_MAC); // not the lowest of the ports', which a port more may change
  expect((await lab.ping({ timeout: PATIENCE })).filter(({ time }) => time !== undefined)).toHaveLength(6);
});

test("Lab.up() with a daemon that ends at once rejects with its last words and leaves nothing", async () => {
  const failing = Lab.up({ ...fake, name: "tfails", flags: ["--fail"] });
  await expect(failing).rejects.toThrow(/flanneld ended with 3[^]*asked to fail/);
  expectNothingLeft("tfails" as Lab["name"]);
});

test("Lab.up() of a name that is taken is refused and disturbs nothing", async () => {
  lab = await Lab.up({ ...fake, name: "ttaken" });
  await expect(Lab.up({ ...fake, name: "ttaken" })).rejects.toThrow("there is a lab ttaken already");
  expect(lab.hosts[0]?.daemon.isRunning).toBe(true);
});

test.each(["", "a-b", "Ä", "../x", "a b", "1a", "a".repeat(17)])("Lab.up() refuses the name %j", async (name) => {
  await expect(Lab.up({ ...fake, name })).rejects.toThrow("lower-case letters and digits");
});

test("Service.restart() with SIGKILL starts another process and waits for it", async () => {
  lab = await Lab.up(fake);
  const daemon = lab.hosts[0]?.daemon;
  const pid = daemon?.pid;
  await daemon?.restart("SIGKILL");
  expect(daemon?.pid).not.toBe(pid);
  expect(daemon?.log().match(/starts/g)).toHaveLength(2);
});

test("Service.start() keeps settings away that are meant for this machine's own daemon", async () => {
  process.env["FLANNELD_IFACE"] = "eth7";
  try {
    lab = await Lab.up({ ...fake, hosts: 1 });
  } finally {
    delete process.env["FLANNELD_IFACE"];
  }
  expect(lab.hosts[0]?.daemon.log()).toMatch(/^fake flanneld \d+ starts\n$/);
});

test("Service.stop() gives the exit code, and 128 + 9 after SIGKILL", async () => {
  lab = await Lab.up(fake);
  expect(await lab.hosts[0]?.daemon.stop("SIGTERM")).toBe(0);
  expect(await lab.hosts[1]?.daemon.stop("SIGKILL")).toBe(137);
  expect(lab.hosts[0]?.daemon.pid).toBeUndefined();
});

test("Service.ready() rejects when READY=1 does not come in time", async () => {
  lab = await Lab.up({ ...fake, daemons: false, flags: ["--never-ready"] });
  const daemon = lab.hosts[0]?.daemon;
  await daemon?.start();
  await expect(daemon?.ready({ within: 300 })).rejects.toThrow("not within 300 ms: READY=1 of flanneld");
});

test.each(["etcd2", "etcd3"] as const)("Lab.up() with %s has the config where the hosts reach it", async (store) => {
  lab = await Lab.up({ hosts: 1, store, backend: "host-gw", config: { SubnetLen: 26 }, daemons: false, signal });
  const [endpoint] = lab.store.endpoints;
  const env = { ...process.env, ETCDCTL_API: store === "etcd2" ? "2" : "3" };
  const argv = ["etcdctl", `--endpoints=${endpoint}`, "get", "/coreos.com/network/config"];
  const answer = await lab.hosts[0]?.namespace.run(argv, { env });
  expect(answer).toContain('{"Network":"10.5.0.0/16","SubnetLen":26,"Backend":{"Type":"host-gw"}}');
});

test("Lab.addHost() beyond a crowd leaves nobody to be asked for by ARP", async () => {
  lab = await Lab.up({ hosts: 19, daemons: false, config: null, signal });
  const known = async () => {
    const neighbours = await Promise.all(
      (lab?.hosts ?? []).map((host) => host.run(["ip", "neigh", "show", "nud", "permanent"])),
    );
    return neighbours.map((text) => text.split("\n").length - 1);
  };
  expect(await known()).toEqual(Array(19).fill(0));
  await lab.addHost();
  expect(await known()).toEqual(Array(20).fill(19));
  await lab.addHost();
  expect(await known()).toEqual(Array(21).fill(20));
  const [first, last] = [lab.hosts[0], lab.hosts[20]];
  expect((await last?.exec(["ping", "-c1", "-W10", first?.address ?? ""]))?.code).toBe(0);
});

test("Lab.setConfig() on the embedded store is what another process reads", async () => {
  lab = await Lab.up({ hosts: 1, backend: { Type: "vxlan", VNI: 7 }, daemons: false, signal });
  await lab.setConfig({ SubnetLen: 26 });
  const options = { logger: silentLogger, create: false };
  await using registry = await openSqliteRegistry(lab.store.file ?? "", options, { signal });
  const { text } = await registry.getConfig("", { signal });
  expect(text).toBe('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":7},"SubnetLen":26}');
});

function atLeast<T>(count: number, list: readonly T[]): readonly T[] | undefined {
  return list.length < count ? undefined : list;
}
