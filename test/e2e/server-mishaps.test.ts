// A flannel server before an etcd: what befalls server, store and clients, and every client ends with the right peers.
import { join } from "node:path";
import { expect, test } from "vitest";
import { formatAddress } from "../../src/ip/address.ts";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { launcher } from "../../src/lab/launcher.ts";
import { labDirectory } from "../../src/lab/record.ts";
import { Service } from "../../src/lab/service.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { pingDuring } from "../support/pings.ts";
import { cut } from "./cut.ts";
import { deleteLease, hostsOf, subnetOf } from "./hosts.ts";

const { signal } = new AbortController();
const PORT = 8888;

/** Sends what is no request, stays connected, and goes away in the midst of answers. */
const GARBAGE = `
  const { connect } = require("node:net");
  const { randomBytes } = require("node:crypto");
  const send = (bytes, reset) => new Promise((resolve) => {
    const socket = connect(${PORT}, process.argv[1], () => {
      socket.write(bytes);
      if (reset) setTimeout(() => socket.resetAndDestroy(), 50);
    });
    socket.on("error", () => {}).on("close", resolve).resume();
    setTimeout(() => socket.destroy(), 1000);
  });
  const poll = "GET /v1/_/leases?next=1 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n";
  (async () => {
    for (let round = 0; round < 20; round++)
      await Promise.all([
        send(randomBytes(4096)),
        send("\\x16\\x03\\x01\\x02\\x00\\x01\\x00"),
        send("POST /v1/_/leases HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 20\\r\\n\\r\\n{\\"PublicIP\\": 12345}}"),
        send("PUT /v1/_/leases/10.5.1.0-24 HTTP/1.1\\r\\nHost: x\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\nzz\\r\\n"),
        send("GET /" + "a".repeat(100000) + " HTTP/1.1\\r\\n\\r\\n"),
        send(poll.repeat(50), true),
      ]);
  })();`;

/** Whether the host leads to just these, by routes that another program lists. */
async function leadsTo(host: LabHost, peers: readonly LabHost[]): Promise<boolean> {
  const routes = (await host.run(["ip", "route"])).split("\n").filter((line) => line.includes(" proto 241"));
  const destinations = routes.map((line) => line.split(" ")[0] ?? "").toSorted();
  return JSON.stringify(destinations) === JSON.stringify(peers.map(subnetOf).toSorted());
}

test("garbage, a half-open client, a history too short, a compacted etcd and restarts: every host ends with the right peers", async () => {
  await using lab = await Lab.up({ hosts: 3, pods: 0, daemons: false, backend: "host-gw", store: "etcd3", signal });
  const address = formatAddress(lab.switch.address);
  const directory = labDirectory(lab.name);
  const server = new Service({
    name: "server",
    argv: [launcher("flanneld"), ...lab.store.flags, `--listen=:${PORT}`, `--state-dir=${join(directory, "server")}`],
    namespace: lab.switch.namespace,
    signal: lab.signal,
    directory,
  });
  await server.start();
  await server.ready();
  const takeIn = async (host: LabHost) => {
    const isStore = (flag: string) => lab.store.flags.includes(flag);
    host.daemon.argv = [...host.daemon.argv.filter((flag) => !isStore(flag)), `--remote=${address}:${PORT}`];
    await host.startDaemon();
    await host.addPod();
  };
  for (const host of lab.hosts) await takeIn(host);
  const [a, b, c] = hostsOf(lab, 3);
  if (a === undefined || b === undefined || c === undefined) throw new Error("no hosts");
  const all = [a, b, c];
  const settles = (hosts: readonly LabHost[], within: number) =>
    waitUntil(
      async () =>
        (
          await Promise.all(
            hosts.map((host) =>
              leadsTo(
                host,
                hosts.filter((each) => each !== host),
              ),
            ),
          )
        ).every(Boolean),
      { signal, within, every: 200, what: "every host leads to every other" },
    );
  await settles(all, 20_000);

  const { lost } = await pingDuring(a.pod, { to: b.pod.address, signal }, async () => {
    await a.run([process.execPath, "-e", GARBAGE, address]);
    const cutOff = await cut(c, PORT); // half-open on both sides: nobody is told
    await server.stop("SIGKILL");
    // Meanwhile a newcomer, a lease that is gone, and nothing in etcd's history that could tell of it.
    await lab.store.etcdctl("put", "/coreos.com/network/elsewhere", "1");
    await deleteLease(lab, c);
    const revision = /"revision":(\d+)/.exec(await lab.store.etcdctl("endpoint", "status", "--write-out=json"))?.[1];
    await lab.store.etcdctl("compact", revision ?? "");
    await server.start();
    await server.ready();
    const late = await lab.addHost();
    await takeIn(late);
    await settles([a, b, late], 20_000); // c has no lease any more
    expect(await leadsTo(c, [a, b])).toBe(true); // what it knew stays
    await cutOff[Symbol.asyncDispose]();
    await settles(lab.hosts, 45_000);
  });
  expect(lost).toBe(0);
  expect(server.isRunning).toBe(true);
  expect(server.log()).not.toMatch(/^[EF]\d{4} /m);
}, 180_000);
