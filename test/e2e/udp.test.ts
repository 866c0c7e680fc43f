import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import type { Place } from "../../src/lab/place.ts";
import { processesInNamespaces } from "../../src/lab/processes.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { ServiceManager } from "../operate/service-manager.ts";
import { pingDuring } from "../support/pings.ts";
import { cpuSeconds } from "../support/process-usage.ts";
import { streamDuring } from "../support/steady-stream.ts";
import { ceiling, complaints, deleteLease, hostsOf, PATIENCE, subnetOf, untilPing } from "./hosts.ts";

const { signal } = new AbortController();
const WITHIN = ceiling(2_000);

async function twoHosts(options: Partial<Parameters<typeof Lab.up>[0]> = {}) {
  const lab = await Lab.up({ hosts: 2, backend: "udp", signal, ...options });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  return { lab, a, b, [Symbol.asyncDispose]: () => lab.down() };
}

async function oneHost() {
  const lab = await Lab.up({ hosts: 1, pods: 0, daemons: false, backend: "udp", signal });
  const [host] = lab.hosts;
  if (host === undefined) throw new Error("no host");
  return { lab, host, [Symbol.asyncDispose]: () => lab.down() };
}

async function says(host: LabHost, ...words: readonly string[]): Promise<void> {
  await waitUntil(() => complaints(host).some((line) => words.every((word) => line.includes(word))), {
    signal,
    within: PATIENCE,
    what: `the log says ${words.join(" … ")}; it says ${complaints(host).join("\n")}`,
  });
}

/** Devices, addresses and routes of flannel's. */
async function show(host: Place): Promise<string> {
  return `${await host.run(["ip", "-br", "-4", "addr"])}${await host.run(["ip", "route"])}`;
}

/** Waits until no process of the host is left: a program that the daemon has asked something may end a moment after it, no holder does. */
async function isAlone({ namespace }: LabHost): Promise<void> {
  const isEmpty = () => processesInNamespaces([namespace.path]).length === 0;
  await waitUntil(isEmpty, { signal, within: PATIENCE, what: "no process is left" });
}

test("flanneld connects pods by udp if the config names no backend, and leases look as 0.7.0's", async () => {
  await using lab = await Lab.up({ hosts: 2, pods: 0, daemons: false, config: null, store: "etcd2", signal });
  await lab.store.setConfig({ Network: "10.5.0.0/16" });
  for (const host of lab.hosts) {
    await host.startDaemon();
    await host.addPod();
  }
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  await untilPing(a.pod, b.pod);
  const key = `/coreos.com/network/subnets/${subnetOf(a).replace("/", "-")}`;
  expect(await lab.store.etcdctl("get", key)).toBe(`{"PublicIP":"${a.address}"}\n`);
  expect(await a.run(["cat", a.subnetFile])).toContain("FLANNEL_MTU=1472");
  expect(await a.run(["ip", "-br", "-4", "addr", "show", "dev", "flannel0"])).toContain(
    subnetOf(a).replace("/24", "/16"),
  );
});

test("flanneld keeps a TCP connection whole over restarts under udp, by SIGTERM and by SIGKILL", async () => {
  await using place = await twoHosts();
  const { a, b } = place;
  const { sent, isWhole } = await streamDuring(a.pod, { to: b.pod, signal }, async () => {
    for (const [host, how] of [
      [a, "SIGTERM"],
      [b, "SIGTERM"],
      [a, "SIGKILL"],
      [b, "SIGKILL"],
    ] as const) {
      await host.daemon.restart(how);
      await delay(300);
    }
  });
  expect(isWhole).toBe(true);
  expect(sent).toBeGreaterThan(2_000_000);
  expect([...complaints(a), ...complaints(b)]).toEqual([]);
});

test("flanneld loses no ping over restarts under a service manager that keeps its descriptors (udp)", async () => {
  await using place = await twoHosts();
  const { a, b } = place;
  await a.daemon.stop();
  using manager = new ServiceManager(join(a.directory, "manager"));
  const log = openSync(join(a.directory, "managed.log"), "w");
  const start = async () => {
    const { by = [], env, passed = [] } = manager.start();
    manager.messages.length = 0;
    const child = a.spawn([...by, ...a.daemon.argv], {
      env: { ...process.env, ...env },
      stdio: ["ignore", log, log, ...passed],
    });
    await waitUntil(() => manager.messages.includes("READY=1"), { signal, within: PATIENCE, what: "it is ready" });
    return child;
  };
  let daemon = await start();
  const pings = { to: a.pod.address, interval: 0.03, signal };
  const { lost } = await pingDuring(b.pod, pings, async ({ answered }) => {
    for (const how of ["SIGTERM", "SIGKILL", "SIGTERM", "SIGKILL"] as const) {
      await waitUntil(() => manager.stored.length === 2, { signal, within: PATIENCE, what: "both are kept" });
      if (how === "SIGKILL") await answered(); // what is in the thread's hands then goes with it
      daemon.kill(how);
      await waitUntil(() => daemon.exitCode !== null || daemon.signalCode !== null, {
        signal,
        within: ceiling(1_000),
        what: `it ends by ${how}`,
      });
      await isAlone(a);
      daemon = await start();
      await untilPing(b.pod, a.pod);
    }
  });
  closeSync(log);
  expect(lost).toBe(0);
  expect(readFileSync(join(a.directory, "managed.log"), "utf8").match(/^[WE].*/gm)).toBe(null);
});

test("flanneld with --handover-timeout=0 leaves no process, and packets are lost only while it is away", async () => {
  await using place = await twoHosts({ flags: ["--handover-timeout=0"] });
  const { a, b } = place;
  await untilPing(b.pod, a.pod);
  let away = 0;
  const { lost } = await pingDuring(b.pod, { to: a.pod.address, signal }, async ({ answered }) => {
    await answered(); // no queue holds any that was sent before
    const start = performance.now();
    await a.daemon.stop();
    await isAlone(a);
    expect(await show(a)).not.toContain("flannel0");
    await a.startDaemon();
    await untilPing(b.pod, a.pod);
    away = performance.now() - start;
  });
  expect(lost).toBeGreaterThan(0);
  expect(lost).toBeLessThan(away / 10 + 10);
});

test("flanneld makes its device again within 2 s, and rests while it cannot", async () => {
  await using place = await twoHosts();
  const { a, b } = place;
  await untilPing(a.pod, b.pod);
  a.daemon.signal("SIGSTOP"); // else it is quicker than who takes the name
  const foreign = ["link del flannel0", "link add flannel0 type bridge", "addr add 198.51.100.1/24 dev flannel0"];
  await a.namespace.ip([...foreign, "link set flannel0 up"]);
  a.daemon.signal("SIGCONT");
  await says(a, "flannel0", "another kind of device");
  const before = cpuSeconds(a.daemon.pid ?? 0);
  await delay(2_000);
  expect(cpuSeconds(a.daemon.pid ?? 0) - before).toBeLessThan(0.2);
  expect(await a.run(["ip", "-br", "-4", "addr", "show", "dev", "flannel0"])).toMatch(/ 198\.51\.100\.1\/24 *$/m);
  expect(await a.run(["ip", "route", "show", "dev", "flannel0"])).not.toContain("10.5.");
  await a.namespace.ip(["link del flannel0"]);
  await untilPing(a.pod, b.pod, WITHIN);
  expect(await show(a)).toContain(`flannel0         UNKNOWN        ${subnetOf(a).replace("/24", "/16")}`);
});

test("flanneld says who has its port, waits, and takes it once it is free", async () => {
  await using place = await oneHost();
  const { host } = place;
  const bind = `require("node:dgram").createSocket("udp4").bind(8285, () => console.log("bound"))`;
  const other = host.spawn([process.execPath, "-e", bind], { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((resolve) => other.stdout?.once("data", resolve));
  await host.daemon.start();
  await says(host, `${host.address}:8285`, "EADDRINUSE", "another program has this port");
  await delay(3_000); // by now it could have given up, or wait long
  other.kill("SIGKILL");
  await host.daemon.ready();
  expect(complaints(host).length).toBe(1);
});

test("flanneld ends with 0 within a second of SIGTERM at any moment of its start under udp", async () => {
  await using place = await oneHost();
  const { daemon } = place.host;
  for (let moment = 0; moment < 240; moment += 10) {
    const before = daemon.log().length;
    await daemon.start();
    // Under a service manager Node cannot listen to signals before that.
    await waitUntil(() => daemon.log().length > before, {
      signal,
      within: PATIENCE,
      what: "its first line",
      every: 2,
    });
    await delay(moment);
    expect({ moment, code: await daemon.stop("SIGTERM", { within: ceiling(1_000) }) }).toEqual({ moment, code: 0 });
  }
  expect(daemon.log().match(/^[EF].*|^ +at .*/gm)).toBe(null);
});

test.each([
  ["there is no such device", "ENOENT", "mount -t tmpfs none /dev/net"],
  ["not permitted", "EACCES", "file=$(mktemp) && mount --bind $file /dev/net/tun && rm $file && chmod 0 /dev/net/tun"],
] as const)("flanneld says what to do about /dev/net/tun where %s, and waits", async (words, errno, spoil) => {
  await using place = await oneHost();
  const { host } = place;
  const [program = "", ...args] = host.daemon.argv;
  // Without the right to pass over modes, as in many containers.
  const as = errno === "EACCES" ? ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"] : [];
  host.daemon.argv = ["unshare", "-m", "sh", "-c", `${spoil}; exec "$@"`, "sh", ...as, program, ...args];
  await host.daemon.start();
  await says(host, "/dev/net/tun", errno, words, "--device=/dev/net/tun");
  expect(host.daemon.isRunning).toBe(true);
  expect(await host.daemon.stop()).toBe(0);
});

test.each([
  ["moves its device there", []],
  ["makes its device anew there, where nobody keeps it", ["--handover-timeout=0"]],
])("flanneld takes another subnet if its own is another's by now, and %s (udp)", async (_, flags) => {
  await using place = await twoHosts({ store: "etcd3", flags });
  const { lab, a, b } = place;
  await untilPing(a.pod, b.pod);
  const isKept = flags.length === 0;
  const record = join(a.stateDirectory, "handover.json");
  if (isKept)
    await waitUntil(() => existsSync(record), { signal, within: PATIENCE, what: "device and socket are kept" });
  const before = subnetOf(a);
  const index = await a.run(["cat", "/sys/class/net/flannel0/ifindex"]);
  a.daemon.signal("SIGSTOP");
  await deleteLease(lab, a);
  const key = `/coreos.com/network/subnets/${before.replace("/", "-")}`;
  await lab.store.etcdctl("put", key, '{"PublicIP":"192.168.77.99"}');
  a.daemon.signal("SIGCONT");
  await waitUntil(() => subnetOf(a) !== before, { signal, within: PATIENCE, what: "another subnet" });
  await waitUntil(
    async () => {
      const now = await a.run(["ip", "-br", "-4", "addr", "show", "dev", "flannel0"]);
      return now.includes(subnetOf(a).replace("/24", "/16")) && !now.includes(before.replace("/24", "/16"));
    },
    { signal, within: PATIENCE, what: "the device has the new address alone" },
  );
  expect((await a.run(["cat", "/sys/class/net/flannel0/ifindex"])) === index).toBe(isKept);
  expect(await a.run(["ip", "-br", "link"])).not.toContain("flannel1");
  await waitUntil(async () => (await b.pod.exec(["ping", "-c1", "-W0.2", subnetOf(a).replace("/24", "")])).code === 0, {
    signal,
    within: PATIENCE,
    what: "the device answers",
  });
});

test("flanneld reaches no peer of another backend, and says so once per peer (udp)", async () => {
  await using place = await twoHosts({ store: "etcd3" });
  const { lab, a } = place;
  const key = "/coreos.com/network/subnets/10.5.250.0-24";
  const data = `{"VNI":1,"VtepMAC":"02:00:00:00:00:99"}`;
  await lab.store.etcdctl("put", key, `{"PublicIP":"192.168.77.99","BackendType":"vxlan","BackendData":${data}}`);
  await says(a, "10.5.250.0/24", "vxlan", "udp");
  expect(await a.pod.exec(["ping", "-c1", "-W10", "10.5.250.1"])).toMatchObject({
    stdout: expect.stringContaining("Net Unreachable") as string,
  });
  expect(complaints(a).length).toBe(1);
});
