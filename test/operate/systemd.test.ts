// The units of packaging/systemd under the real systemd, with everything that it does to services. Needs root.
import { expect, onTestFinished, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { untilPing, withPod } from "../e2e/hosts.ts";
import { pingDuring } from "../support/pings.ts";
import { Systemd } from "../support/systemd.ts";

const { signal } = new AbortController();
/** CAP_NET_ADMIN, 12, and CAP_NET_RAW, 13. capability.h */
const NET_ADMIN_AND_RAW = ((1n << 12n) | (1n << 13n)).toString(16).padStart(16, "0");
const NONE = "0".repeat(16);
const CAPABILITIES = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

async function boot(host: LabHost | undefined): Promise<{ readonly host: LabHost; readonly systemd: Systemd }> {
  if (host === undefined) throw new Error("no host");
  const systemd = await Systemd.boot(host, { signal });
  onTestFinished(() => systemd[Symbol.asyncDispose]());
  return { host, systemd };
}

async function sandbox(systemd: Systemd, unit: string) {
  const fields = [...CAPABILITIES, "NoNewPrivs", "Seccomp"];
  return Object.fromEntries(
    await Promise.all(fields.map(async (field) => [field, await systemd.processStatus(unit, field)] as const)),
  );
}

const capabilities = (set: string) => ({ CapInh: NONE, CapPrm: set, CapEff: set, CapBnd: set, CapAmb: NONE });

/** What Docker is started with, where something that is called so says what it is given. */
async function dockerOf(systemd: Systemd): Promise<string> {
  await systemd.write("/usr/local/bin/dockerd", '#!/bin/sh\nprintf "%s\\n" "$*" >/run/docker-arguments\n', { signal });
  await systemd.run(["chmod", "755", "/usr/local/bin/dockerd"], { signal });
  await systemd.write("/etc/systemd/system/docker.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n", {
    signal,
  });
  await systemd.systemctl("daemon-reload"); // its drop-in is there with our units
  await systemd.systemctl("start", "docker");
  return await systemd.run(["cat", "/run/docker-arguments"], { signal });
}

/** What systemd-networkd says until it knows eth0, and for a second more, on a host where it is to manage everything but for our files. */
async function networkdOn(systemd: Systemd): Promise<string> {
  await systemd.write("/etc/systemd/network/99-all.network", "[Match]\nName=*\n[Network]\nLinkLocalAddressing=no\n", {
    signal,
  });
  const script = `
    cp /opt/flannel/dist/systemd/network/* /etc/systemd/network/
    mkdir -p /etc/systemd/networkd.conf.d
    cp /opt/flannel/dist/systemd/networkd.conf.d/* /etc/systemd/networkd.conf.d/
    mount -o remount,ro /sys # else it waits for udev
    install -d -o systemd-network -g systemd-network /run/systemd/netif /run/systemd/netif/links
    timeout 60 /lib/systemd/systemd-networkd >/run/networkd.log 2>&1 &
    for look in $(seq 300); do
      if grep -q "eth0: Configuring" /run/networkd.log; then break; fi
      sleep 0.1
    done
    sleep 1
    kill $!
    wait $! || true
    cat /run/networkd.log`;
  return await systemd.run(["sh", "-c", script], { signal });
}

test("the units: a server that is started by its first client, hosts with udp, restarts and a stuck daemon, several networks", async () => {
  await using lab = await Lab.up({ hosts: 3, pods: 0, daemons: false, config: null, signal });
  const [a, b, server] = await Promise.all(lab.hosts.map(boot));
  if (a === undefined || b === undefined || server === undefined) throw new Error("no hosts");
  const all = [a, b, server];

  const units = ["flanneld.service", "flannel-server.service", "flannel-server.socket", "flannel-network@blue.path"];
  const verified = await a.systemd.exec(["systemd-analyze", "verify", ...units], { signal });
  expect(verified).toEqual({ stdout: "", stderr: "", code: 0 });

  // One network, through a server that its socket starts.
  const configure = (config: unknown, ...network: readonly string[]) =>
    server.systemd.run(
      [
        "flannel",
        "config",
        "set",
        JSON.stringify(config),
        "--embedded-store=/var/lib/flannel-server/leases.db",
        ...network,
      ],
      { signal },
    );
  await configure({ Network: "10.5.0.0/16", Backend: { Type: "udp" } });
  await server.systemd.systemctl("start", "flannel-server.socket");
  expect(await server.systemd.property("flannel-server.service", "ActiveState")).toBe("inactive");
  for (const { systemd } of [a, b]) {
    await systemd.write(
      "/etc/flannel/flanneld.env",
      `FLANNELD_REMOTE=${server.host.address}:8888\nFLANNELD_IP_MASQ=true\n`,
      { signal },
    );
    await systemd.systemctl("start", "flanneld");
    await systemd.until("flanneld", "StatusText", (text) =>
      /^Up: subnet 10\.5\.\d+\.0\/24, backend udp, \d peers?\.$/.test(text),
    );
  }
  await server.systemd.until("flannel-server", "StatusText", (text) =>
    /^Serving leases of embedded store \/var\/lib\/flannel-server\/leases\.db at \[::\]:8888 without TLS; \d clients? waiting for changes\.$/.test(
      text,
    ),
  );
  expect(await sandbox(a.systemd, "flanneld")).toEqual({
    ...capabilities(NET_ADMIN_AND_RAW),
    NoNewPrivs: "1",
    Seccomp: "2",
  });
  expect(await sandbox(server.systemd, "flannel-server")).toEqual({
    ...capabilities(NONE),
    NoNewPrivs: "1",
    Seccomp: "2",
  });
  for (const { host, systemd } of [a, b]) await host.addPod(await systemd.subnetEnv());
  const [from, to] = [withPod(a.host).pod, withPod(b.host).pod];
  await untilPing(from, to);
  const { stdout: answer } = await from.exec(["ping", "-n", "-c1", "-W10", "10.5.250.1"], { signal });
  expect(answer).toContain("Destination Net Unreachable"); // by a raw socket

  // Restarts that nobody notices: device and socket are in systemd's store meanwhile.
  await a.systemd.until("flanneld", "NFileDescriptorStore", (count) => count === "2");
  // Its queue holds 500 packets, the socket of a ping 150: where other tests make a start take eight seconds, that is too few for 100 a second.
  const pings = { to: to.address, interval: 0.05, signal };
  const { lost } = await pingDuring(from, pings, async () => {
    await a.systemd.systemctl("restart", "flanneld");
    await server.systemd.systemctl("restart", "flannel-server");
  });
  expect(lost).toBe(0);
  expect(a.systemd.log()).toContain("descriptors taken over from the service manager");

  // A daemon that is stuck is started anew, and goes on.
  await b.systemd.write("/etc/systemd/system/flanneld.service.d/soon.conf", "[Service]\nWatchdogSec=3\n", { signal });
  await b.systemd.systemctl("daemon-reload");
  await b.systemd.systemctl("restart", "flanneld");
  await b.systemd.systemctl("kill", "--signal=STOP", "flanneld");
  await b.systemd.until("flanneld", "NRestarts", (restarts) => Number(restarts) >= 1); // more, where three seconds are short
  await b.systemd.until("flanneld", "ActiveState", (state) => state === "active");
  await untilPing(from, to);

  // A stop keeps what containers need, and is a clean one.
  await b.systemd.systemctl("stop", "flanneld");
  expect(await b.systemd.property("flanneld", "Result")).toBe("success");
  expect(await b.systemd.property("flanneld", "ExecMainStatus")).toBe("0");
  await b.systemd.subnetEnv();

  // Several networks, each with a path unit.
  await configure({ Network: "10.61.0.0/16", Backend: { Type: "vxlan", VNI: 5 } }, "--network=blue");
  await configure({ Network: "10.62.0.0/16", Backend: { Type: "host-gw" } }, "--network=green");
  for (const { systemd } of [a, b]) {
    const settings = `FLANNELD_REMOTE=${server.host.address}:8888\nFLANNELD_NETWORKS=blue,green,later\nFLANNELD_IP_MASQ=true\n`;
    await systemd.write("/etc/flannel/flanneld.env", settings, { signal });
    await systemd.run(
      [
        "cp",
        "/opt/flannel/dist/systemd/system/flanneld.service.d/networks.conf",
        "/etc/systemd/system/flanneld.service.d/",
      ],
      { signal },
    );
    await systemd.systemctl("daemon-reload");
    for (const network of ["blue", "green", "later"])
      await systemd.systemctl("start", `flannel-network@${network}.path`);
    await systemd.systemctl("restart", "flanneld");
    for (const network of ["blue", "green"])
      await systemd.until(`flannel-network@${network}.target`, "ActiveState", (state) => state === "active");
    await systemd.until("flanneld", "StatusText", (text) =>
      /^2 of 3 networks are up: blue .*, green .*; later is waiting /.test(text),
    );
    expect(await systemd.property("flannel-network@later.target", "ActiveState")).toBe("inactive");
  }
  const routes = await a.host.run(["ip", "route"]);
  for (const network of ["blue", "green"]) {
    const { subnet } = await b.systemd.subnetEnv(`/run/flannel/networks/${network}.env`);
    expect(subnet.length).toBe(24);
  }
  await waitUntil(async () => /10\.61\.\d+\.0\/24 .*flannel\.5/.test(await a.host.run(["ip", "route"])), {
    signal,
    within: 20_000,
    what: `a leads to b in blue; before: ${routes}`,
  });
  const rules = await a.host.run(["nft", "list", "ruleset"]); // of vxlan and host-gw, by the same capabilities
  for (const range of ["10.61.0.0/16", "10.62.0.0/16"]) expect(rules).toContain(range);
  expect(await sandbox(a.systemd, "flanneld")).toMatchObject(capabilities(NET_ADMIN_AND_RAW));
  expect(await dockerOf(b.systemd)).toMatch(/^-H fd:\/\/ --containerd=\S+ --bip=10\.5\.\d+\.1\/24 --mtu=1472\n$/);
  const networkd = await networkdOn(a.systemd);
  expect(networkd).toMatch(/eth0: Configuring with .*99-all\.network/);
  expect(networkd).not.toMatch(/flannel\S*: Configuring|Unknown key 'ManageForeignRout/);
  for (const { systemd } of all) expect(systemd.log()).not.toMatch(/EPERM|EACCES|EROFS|^[EF]\d{4} /m);
}, 240_000);
