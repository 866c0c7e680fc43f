import { expect, test } from "vitest";
import { Lab, type LabOptions } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { complaints } from "./hosts.ts";

const { signal } = new AbortController();
const WITHIN = 20_000;

async function oneHost(options: Partial<LabOptions> = {}): Promise<{ lab: Lab; host: LabHost } & AsyncDisposable> {
  const lab = await Lab.up({ hosts: 1, pods: 0, daemons: false, store: "etcd2", signal, ...options });
  const [host] = lab.hosts;
  if (host === undefined) throw new Error("no host");
  return { lab, host, [Symbol.asyncDispose]: () => lab.down() };
}

async function says(host: LabHost, ...words: readonly string[]): Promise<void> {
  await waitUntil(() => complaints(host).some((line) => words.every((word) => line.includes(word))), {
    signal,
    within: WITHIN,
    what: `the log says ${words.join(" … ")}; it says ${complaints(host).join("\n")}`,
  });
}

const GOOD = JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: "host-gw" } });

test("flanneld waits for a network config, names what is wrong with each it finds, and takes the first good one", async () => {
  await using place = await oneHost({ config: null });
  const { lab, host } = place;
  const put = (text: string) => lab.store.etcdctl("set", "/coreos.com/network/config", text);
  await host.daemon.start();
  await says(host, "/coreos.com/network/config");
  const bad: readonly (readonly [string, ...string[]])[] = [
    ['{ "Network": "10.5.0.0/16"', "is not JSON"],
    ['["10.5.0.0/16"]', "must be a JSON object"],
    ['{ "SubnetLen": 24 }', "Network", "is missing"],
    ['{ "Network": "10.5.0.0/33" }', "Network", "10.5.0.0/33"],
    ['{ "Network": "10.5.0.0" }', "Network", "10.5.0.0"],
    ['{ "Network": "fc00::/64" }', "Network", "IPv4", "fc00::/64"],
    ['{ "Network": "10.5.0.0/16", "SubnetLen": 31 }', "SubnetLen", "31"],
    ['{ "Network": "10.5.0.0/16", "SubnetLen": "24" }', "SubnetLen", "24"],
    ['{ "Network": "10.5.0.0/16", "SubnetLen": 12 }', "SubnetLen", "12", "larger"],
    ['{ "Network": "10.5.0.0/16", "SubnetMin": "10.6.0.0" }', "SubnetMin", "10.6.0.0"],
    ['{ "Network": "10.5.0.0/16", "SubnetMax": "fc00::1" }', "SubnetMax", "fc00::1"],
    ['{ "Network": "10.5.0.0/16", "Backend": { "Type": "nope" } }', "Backend.Type", "nope"],
    ['{ "Network": "10.5.0.0/16", "Backend": { "Type": "vxlan", "VNI": 16777216 } }', "Backend.VNI", "16777216"],
    ['{ "Network": "10.5.0.0/16", "Backend": { "Type": "vxlan", "Port": "8472" } }', "Backend.Port", "8472"],
    ['{ "Network": "10.5.0.0/16", "Backend": "vxlan" }', "Backend", "vxlan"],
  ];
  for (const [text, ...words] of bad) {
    await put(text);
    await says(host, ...words);
  }
  expect(host.daemon.isRunning).toBe(true);
  await put(GOOD);
  await host.daemon.ready({ within: WITHIN });
});

test("flanneld warns of a config that works but is not what someone may think", async () => {
  await using place = await oneHost({
    config: { SubnetLen: 24, SubnetMin: "10.5.1.5", SubnetMax: "10.5.10.200" },
    backend: "host-gw",
  });
  await place.host.startDaemon();
  expect(complaints(place.host).join("\n")).toMatch(/SubnetMin 10\.5\.1\.5 .*10\.5\.2\.0/);
  expect(complaints(place.host).join("\n")).toMatch(/SubnetMax 10\.5\.10\.200 .*10\.5\.10\.0/);
});

for (const store of ["etcd2", "etcd3"] as const)
  test(`flanneld logs a lease that makes no sense once, with key and reason, and serves the others (${store})`, async () => {
    await using lab = await Lab.up({ hosts: 2, backend: "vxlan", store, signal });
    const [a] = lab.hosts;
    if (a === undefined) throw new Error("no host");
    const put = (key: string, value: string) =>
      lab.store.etcdctl(store === "etcd2" ? "set" : "put", `/coreos.com/network/subnets/${key}`, value);
    await put("garbage", "{}");
    await put("10.5.250.0-24", "not json");
    await put("10.5.251.0-24", '{"PublicIP":"1.2.3"}');
    await put(
      "10.5.252.0-24",
      '{"PublicIP":"192.168.77.99","BackendType":"vxlan","BackendData":{"VtepMAC":"ff:ff:ff:ff:ff:ff"}}',
    );
    await put(
      "10.6.0.0-24",
      '{"PublicIP":"192.168.77.98","BackendType":"vxlan","BackendData":{"VtepMAC":"02:00:00:00:00:98"}}',
    );
    await put(
      "0.0.0.0-0",
      '{"PublicIP":"192.168.77.97","BackendType":"vxlan","BackendData":{"VtepMAC":"02:00:00:00:00:97"}}',
    );
    for (const word of ["garbage", "10.5.250.0-24", "10.5.251.0-24", "10.5.252.0/24", "10.6.0.0/24", "0.0.0.0-0"])
      await says(a, word);
    const late = await lab.addHost();
    await waitUntil(async () => (await lab.ping({ timeout: 300 })).every((result) => result.time !== undefined), {
      signal,
      within: 20_000,
      what: "all pods reach each other",
    });
    for (const word of ["garbage", "10.5.250.0-24", "10.5.252.0/24"]) {
      expect(complaints(a).filter((line) => line.includes(word)).length, word).toBe(1);
      expect(complaints(late).filter((line) => line.includes(word)).length, word).toBe(1);
    }
    expect(await a.run(["ip", "route"])).not.toMatch(/10\.6\.0\.0|10\.5\.25\d|^0\.0\.0\.0|192\.168\.77\.97/m);
  });

for (const [iface, words] of [
  ["nope0", ["--iface", "nope0"]],
  ["192.0.2.77", ["--iface", "192.0.2.77"]],
  ["lonely", ["--iface", "lonely", "IPv4"]],
] as const)
  test(`flanneld ends with 1 for --iface=${iface}, and says why`, async () => {
    await using place = await oneHost({ flags: [`--iface=${iface}`] });
    await place.host.namespace.ip(["link add lonely type bridge", "link set lonely up"]);
    await place.host.daemon.start();
    expect(await place.host.daemon.exited).toBe(1);
    const log = place.host.daemon.log();
    for (const word of words) expect(log).toContain(word);
  });

test("flanneld waits for an etcd that is away, says so once, and starts when it is back", async () => {
  await using place = await oneHost({ backend: "host-gw" });
  const { lab, host } = place;
  await lab.store.server?.stop("SIGKILL");
  await host.daemon.start();
  await says(host, lab.store.endpoints[0] ?? "");
  await lab.store.start();
  await host.daemon.ready({ within: WITHIN });
  expect(complaints(host).length).toBeLessThan(6);
});
