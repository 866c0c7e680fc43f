// Several networks on each host, straight from etcd.
import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { pingDuring } from "../support/pings.ts";
import { directoryOf, envOf, inhabit } from "./several-networks.ts";

const { signal } = new AbortController();

for (const store of ["etcd2", "etcd3"] as const)
  test(`three networks on ${store}: one is added, one removed and one broken, while pings in the others lose nothing`, async () => {
    await using lab = await Lab.up({ hosts: 3, pods: 0, daemons: false, store, config: null, signal });
    const [a, b, c] = lab.hosts;
    if (a === undefined || b === undefined || c === undefined) throw new Error("no hosts");
    const key = (network: string) => `/coreos.com/network/${network}/config`;
    const configure = (network: string, config: unknown) =>
      lab.store.etcdctl(
        store === "etcd2" ? "set" : "put",
        key(network),
        typeof config === "string" ? config : JSON.stringify(config),
      );
    const everywhere = (what: string, condition: (host: LabHost) => boolean | Promise<boolean>) =>
      waitUntil(async () => (await Promise.all(lab.hosts.map(async (host) => await condition(host)))).every(Boolean), {
        signal,
        within: 20_000,
        every: 100,
        what,
      });
    const isUp = (network: string) =>
      everywhere(`${network} on every host`, (host) => envOf(host, network) !== undefined);

    await configure("blue", { Network: "10.61.0.0/16", Backend: { Type: "vxlan", VNI: 1 } });
    await configure("green", { Network: "10.62.0.0/16", Backend: { Type: "vxlan", VNI: 2 } });
    await configure("red", { Network: "10.63.0.0/16", Backend: { Type: "host-gw" } });
    for (const host of lab.hosts) {
      host.daemon.argv = [...host.daemon.argv, "--watch-networks", `--subnet-dir=${directoryOf(host)}`];
      await host.daemon.start();
    }
    for (const network of ["blue", "green", "red"]) await isUp(network);
    const routesOf = async (host: LabHost, network: string) => {
      const routes = await host.run(["ip", "route"]);
      return routes.split("\n").filter((line) => line.startsWith(`10.${network}.`) && line.includes(" via "));
    };
    await everywhere("two peers in red", async (host) => (await routesOf(host, "63")).length === 2);

    const [blue, green] = [await inhabit(a, "blue"), await inhabit(a, "green")];
    for (const network of ["blue", "green"]) await inhabit(b, network);
    const pings = await pingDuring(b, { to: blue, signal }, () =>
      pingDuring(b, { to: green, signal }, async () => {
        await configure("cyan", { Network: "10.64.0.0/16", Backend: { Type: "host-gw" } });
        await isUp("cyan");
        await configure("green", '{"Network": "10.62.0.0/16", "Backend": {"Type": "vxlan", "VNI": ');
        await lab.store.etcdctl(store === "etcd2" ? "rm" : "del", key("red"));
        await everywhere("nothing of red", async (host) => {
          return envOf(host, "red") === undefined && (await routesOf(host, "63")).length === 0;
        });
        await everywhere("two peers in cyan", async (host) => (await routesOf(host, "64")).length === 2);
        await c.daemon.stop("SIGTERM");
        await c.daemon.start(); // with several networks it is never ready
      }),
    );
    expect({ blue: pings.lost, green: pings.result.lost }).toEqual({ blue: 0, green: 0 });
    expect(a.daemon.log()).toContain("network was removed, and all of it from this host");
    await waitUntil(() => /it is not JSON/.test(c.daemon.log()), {
      signal,
      within: 20_000,
      what: "the host that was started anew says what is wrong with green",
    });
    await everywhere("blue, green and cyan", (host) =>
      ["blue", "green", "cyan"].every((network) => envOf(host, network) !== undefined),
    );
  });
