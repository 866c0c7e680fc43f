import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { containsAddress } from "../../src/ip/prefix.ts";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import type { Place } from "../../src/lab/place.ts";
import { ended, signalGroup } from "../../src/lab/program.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { subnetPrefix, untilPing } from "../e2e/hosts.ts";
import { PYTHON } from "../support/python.ts";
import { plugin } from "./plugin.ts";
import { manifestConfigList, Runtime } from "./runtime.ts";

const { signal } = new AbortController();
const WITHIN = 20_000;

let lab: Lab;
let hosts: readonly LabHost[];
let one: Runtime;
let other: Runtime;

beforeAll(async () => {
  lab = await Lab.up({ hosts: 2, backend: "vxlan", pods: 0, signal });
  hosts = lab.hosts;
  [one, other] = [runtimeOf(0), runtimeOf(1)];
});
afterAll(() => lab.down());

function hostAt(index: number): LabHost {
  const host = hosts[index];
  if (host === undefined) throw new Error("no such host");
  return host;
}

function runtimeOf(index: number, delegate: object = {}): Runtime {
  return new Runtime(lab, hostAt(index), manifestConfigList(hostAt(index), delegate));
}

/** What is left of pods on a host: records, reserved addresses, ends of cables. */
async function traces(
  host: LabHost,
): Promise<{ records: readonly string[]; reserved: readonly string[]; links: number }> {
  const files = (directory: string) => (existsSync(directory) ? readdirSync(directory) : []);
  const links = JSON.parse(await host.run(["ip", "-j", "link", "show", "type", "veth"])) as { ifname: string }[];
  return {
    records: files(join(host.directory, "cni")).filter((name) => !name.startsWith(".lock-")),
    reserved: files(join(host.directory, "ipam/cbr0")).filter((name) => /^[\d.]+$/.test(name) && name.includes("10.")),
    links: links.filter(({ ifname }) => ifname.startsWith("veth")).length,
  };
}

const NOTHING = { records: [], reserved: [], links: 0 };

async function untilNoLinks(host: LabHost): Promise<void> {
  await waitUntil(async () => (await traces(host)).links === 0, {
    signal,
    within: 20_000,
    what: `no pod's cable is left on ${host.name}`,
  });
}

/** A flannel that is ended by SIGKILL, without the delegate that it has started. */
function killedAfter(milliseconds: number): string {
  const path = join(hostAt(0).directory, `killed-after-${milliseconds}`);
  const text = `#!/bin/sh\nexec timeout --foreground -s KILL ${milliseconds / 1000} ${plugin}\n`;
  writeFileSync(path, text, { mode: 0o755 });
  return path;
}

async function mtuOf(place: Place): Promise<number> {
  const [link] = JSON.parse(await place.run(["ip", "-j", "link", "show", "eth0"])) as { mtu: number }[];
  return link?.mtu ?? 0;
}

describe("pods by the plugin and Debian's bridge, host-local and portmap", () => {
  test("pods of two hosts reach each other, with an address of their host's subnet and room for the tunnel", async () => {
    const [a, b] = await Promise.all([one.addPod("a"), other.addPod("b")]);
    expect(containsAddress(subnetPrefix(hostAt(0)), parseAddress(a.address))).toBe(true);
    expect(await mtuOf(a)).toBe(hostAt(0).subnetEnv().mtu);
    await untilPing(a, b, WITHIN);
    await untilPing(b, a, WITHIN);
    await one.check("a");
    expect(await a.run(["ping", "-n", "-c1", "-W10", "-Mdo", "-s", String(1450 - 28), b.address])).toContain(
      " 0% packet loss",
    );
  });

  test("a port of the host leads to a pod, by the plugin that comes after flannel", async () => {
    const portMappings = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
    const pod = await one.addPod("web", { portMappings });
    const server = pod.spawn([PYTHON, "-m", "http.server", "80", "--directory", hostAt(0).directory], {
      stdio: "ignore",
    });
    const end = ended(server);
    try {
      const fetch = `import urllib.request; print(urllib.request.urlopen("http://${hostAt(0).address}:8080/subnet.env", timeout=2).read().decode())`;
      const page = await waitUntil(
        async (signal) => {
          const { code, stdout } = await hostAt(1).exec([PYTHON, "-c", fetch], { signal });
          return code === 0 && stdout;
        },
        { signal, within: 20_000, every: 200, what: "the pod answers at its host's port" },
      );
      expect(page).toContain("FLANNEL_SUBNET=");
    } finally {
      signalGroup(server, "SIGKILL");
      await end;
    }
    await one.check("web");
    await one.del("web");
  });

  test("CHECK finds a pod's address that somebody took away", async () => {
    const pod = await one.addPod("robbed");
    await one.check("robbed");
    await pod.namespace.ip(["addr flush dev eth0"]);
    const { json } = await one.flannel("CHECK", "robbed");
    expect(json).toMatchObject({ code: expect.any(Number), msg: expect.stringMatching(/^bridge: .*10\.5\./) });
    await one.del("robbed");
  });

  test("DEL leaves nothing, may come twice, and needs neither namespace nor flanneld's file", async () => {
    for (const id of ["a", "b"]) await (id === "a" ? one : other).del(id);
    await one.del("a");
    const elsewhere = { ...manifestConfigList(hostAt(1)).plugins[0], subnetFile: "/nonexistent" };
    await other.addPod("c");
    await lab.switch.namespace.run(["ip", "netns", "del", `fl-${lab.name}-${hostAt(1).name}-c`]);
    for (let time = 0; time < 2; time++) expect(await other.flannel("DEL", "c", elsewhere)).toMatchObject({ code: 0 });
    await untilNoLinks(hostAt(1)); // the kernel takes a namespace's away when it comes to it
    for (const host of hosts) expect(await traces(host)).toEqual(NOTHING);
  });

  test("50 pods that come at once get an address each, and go at once without a trace", async () => {
    // As where flanneld has --ip-masq, and without portmap: else iptables, run some hundred times, is most of it.
    const { plugins, ...list } = manifestConfigList(hostAt(0), { ipMasq: false });
    const one = new Runtime(lab, hostAt(0), { ...list, plugins: plugins.slice(0, 1) });
    const ids = Array.from({ length: 50 }, (_, index) => `p${index}`);
    const pods = await Promise.all(ids.map((id) => one.addPod(id)));
    expect(new Set(pods.map(({ address }) => address)).size).toBe(50);
    expect(await traces(hostAt(0))).toMatchObject({ links: 50, records: { length: expect.any(Number) } });
    const target = await other.addPod("target");
    await Promise.all(pods.map((pod) => untilPing(pod, target, 20_000)));
    await Promise.all(ids.map((id) => one.del(id)));
    await other.del("target");
    for (const host of hosts) expect(await traces(host)).toEqual(NOTHING);
  });

  test("a plugin that is killed at any moment of an ADD leaves what a DEL takes away", async () => {
    const host = hostAt(0);
    for (const milliseconds of [20, 60, 100, 140, 180, 220, 260, 300]) {
      const id = `k${milliseconds}`;
      const killed = killedAfter(milliseconds);
      await new Runtime(lab, host, manifestConfigList(host), killed)
        .addPod(id)
        .catch((error: unknown) => expect(String(error)).toContain("ADD"));
      await one.del(id);
      expect(await traces(host), `killed after ${milliseconds} ms`).toEqual(NOTHING);
    }
  });

  test("a bridge with the subnet of a lease that was lost is named, and pods come again once it is gone", async () => {
    const host = hostAt(1);
    await other.addPod("before");
    const file = readFileSync(host.subnetFile, "utf8");
    writeFileSync(host.subnetFile, file.replace(/(?<=FLANNEL_SUBNET=).*/, "10.5.250.1/24"));
    try {
      await expect(other.addPod("after")).rejects.toThrow(
        /bridge: .*; bridge cni0 still has the subnet 10\.5\.\d+\.0\/24, but this host's is 10\.5\.250\.0\/24.*ip link delete cni0/,
      );
      const status = { ...manifestConfigList(host).plugins[0], cniVersion: "1.1.0" };
      expect((await other.flannel("STATUS", "", status)).json).toMatchObject({ code: 51 });
      expect((await other.flannel("CHECK", "before")).json).toMatchObject({ code: 102 });
      // Debian's bridge wants to undo what it had not begun, says so, and has undone the rest: runtimes ask again.
      await other.del("after").catch(() => other.del("after"));
      await other.del("before");
      await host.run(["ip", "link", "delete", "cni0"]);
      expect((await other.addPod("again")).address).toMatch(/^10\.5\.250\.\d+$/);
      await other.del("again");
    } finally {
      writeFileSync(host.subnetFile, file);
      await host.run(["ip", "link", "delete", "cni0"]);
    }
    expect(await traces(host)).toEqual(NOTHING);
  });

  test("a pod gets an address of each family where the host has both", async () => {
    const host = hostAt(1);
    const file = readFileSync(host.subnetFile, "utf8");
    writeFileSync(host.subnetFile, `${file}FLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET=fd00:5:0:22::1/64\n`);
    try {
      const pod = await other.addPod("dual");
      const addresses = await pod.run(["ip", "-br", "address", "show", "dev", "eth0", "scope", "global"]);
      expect(addresses).toMatch(/10\.5\.\d+\.\d+\/24 .*fd00:5:0:22::\w+\/64/);
      expect(await pod.run(["ip", "-6", "route"])).toContain("fd00:5::/48 via fd00:5:0:22::1 dev eth0");
      await other.check("dual");
      await other.del("dual");
    } finally {
      writeFileSync(host.subnetFile, file);
    }
  });

  test("GC undoes the pods that a runtime has forgotten, also where the delegate itself knows no GC", async () => {
    const host = hostAt(0);
    await one.addPod("kept");
    await one.addPod("forgotten");
    const config = {
      ...manifestConfigList(host).plugins[0],
      cniVersion: "1.1.0",
      "cni.dev/valid-attachments": [{ containerID: "kept", ifname: "eth0" }],
    };
    const { json } = await one.flannel("GC", "any", config);
    expect(json).toMatchObject({ code: 4, msg: "bridge: unknown CNI_COMMAND: GC" });
    const { records, reserved } = await traces(host);
    expect({ records, reserved: reserved.length }).toEqual({
      records: ["kept"],
      reserved: 1,
    });
    await one.check("kept");
    await one.del("kept");
  });
});
