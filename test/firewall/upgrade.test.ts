import { expect, test } from "vitest";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { openFirewall } from "../../src/kernel/firewall/linux-firewall.ts";
import { Lab } from "../../src/lab/lab.ts";
import { launcher } from "../../src/lab/launcher.ts";
import type { Place } from "../../src/lab/place.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { complaints, PATIENCE, untilPing, withPod } from "../e2e/hosts.ts";
import { pingDuring } from "../support/pings.ts";

const { signal } = new AbortController();

/** What releases leave in iptables on a host with 10.5.3.0/24, by captures of them; and another network's, which are not ours to remove. */
const ITS_RULES = `*nat
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -s 10.5.3.0/24 -d 10.5.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A POSTROUTING -s 10.5.0.0/16 -d 10.5.0.0/16 -j RETURN
-A POSTROUTING -s 10.5.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE
-A POSTROUTING ! -s 10.5.0.0/16 -d 10.5.0.0/16 -j MASQUERADE
-A POSTROUTING -s 10.9.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE
-A POSTROUTING -s 203.0.113.0/24 -j ACCEPT
COMMIT
*filter
:FORWARD DROP [0:0]
:FLANNEL-FWD - [0:0]
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
COMMIT
`;
const ITS_TABLE = `table ip flannel-ipv4 {
  chain forward { type filter hook forward priority filter; policy accept; ip saddr 10.5.0.0/16 accept; };
  chain postrtg { type nat hook postrouting priority srcnat; policy accept; ip saddr 10.5.0.0/16 masquerade fully-random; };
}
table ip flannel-other { chain forward { type filter hook forward priority filter; policy accept; }; }
`;

async function rulesOf(host: Place, kind: string): Promise<readonly string[]> {
  return (await host.run([`iptables-${kind}-save`])).split("\n").filter((line) => /^-A|^:FORWARD/.test(line));
}

for (const kind of ["nft", "legacy"] as const)
  test(`flanneld takes over from 0.7.0 and later releases in iptables-${kind} without a lost ping, and leaves nothing of them`, async () => {
    await using lab = await Lab.up({ hosts: 2, flags: ["--ip-masq"], signal });
    const [a, b] = [withPod(lab.hosts[0]), withPod(lab.hosts[1])];
    await a.daemon.stop();
    await a.run(["nft", "delete", "table", "ip", "flannel-10.5.0.0-16"]);
    await a.run([`iptables-${kind}-restore`], { input: ITS_RULES });
    await a.run(["nft", "-f", "-"], { input: ITS_TABLE });

    const isTaken = async () => (await rulesOf(a, kind)).length === 13;
    const { lost } = await pingDuring(b.pod, { to: a.pod.address, signal }, async () => {
      await a.startDaemon();
      await waitUntil(async () => (await isTaken()) && !(await a.run(["nft", "list", "tables"])).includes("ipv4"), {
        signal,
        within: PATIENCE,
        what: "the old rules are gone",
      });
    });
    expect(lost).toBe(0);
    const subnet = /FLANNEL_SUBNET=(\S+)\.1\//.exec(await a.run(["cat", a.subnetFile]))?.[1];
    expect((await rulesOf(a, kind)).map((line) => line.replaceAll(`${subnet}.0/24`, "SUBNET"))).toEqual([
      ":FORWARD DROP [0:0]",
      "-A FORWARD -j FLANNEL-F-10.5.0.0-16",
      "-A FLANNEL-F-10.5.0.0-16 -s 10.5.0.0/16 -j ACCEPT",
      "-A FLANNEL-F-10.5.0.0-16 -d 10.5.0.0/16 -j ACCEPT",
      "-A POSTROUTING -s 10.9.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE",
      "-A POSTROUTING -s 203.0.113.0/24 -j ACCEPT",
      "-A POSTROUTING -j FLANNEL-M-10.5.0.0-16",
      "-A FLANNEL-M-10.5.0.0-16 -m mark --mark 0x4000/0x4000 -j RETURN",
      "-A FLANNEL-M-10.5.0.0-16 -s SUBNET -d 10.5.0.0/16 -j RETURN",
      "-A FLANNEL-M-10.5.0.0-16 -s 10.5.0.0/16 -d SUBNET -j RETURN",
      "-A FLANNEL-M-10.5.0.0-16 ! -s 10.5.0.0/16 -d SUBNET -j RETURN",
      "-A FLANNEL-M-10.5.0.0-16 -s 10.5.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully",
      "-A FLANNEL-M-10.5.0.0-16 ! -s 10.5.0.0/16 -d 10.5.0.0/16 -j MASQUERADE --random-fully",
    ]);
    expect(await a.run(["nft", "list", "tables"])).toContain("table ip flannel-other");
    expect(complaints(a)).toEqual([]);
  });

test("flanneld with another --firewall moves its rules without a lost ping, leaves nothing where they were, and none makes none", async () => {
  await using lab = await Lab.up({ hosts: 2, flags: ["--ip-masq", "--firewall=nftables"], signal });
  const [a, b] = [withPod(lab.hosts[0]), withPod(lab.hosts[1])];
  await a.run(["iptables-legacy", "-P", "FORWARD", "DROP"]);
  const places = async () => {
    const chain = await a.exec(["nft", "list", "chain", "ip", "flannel-10.5.0.0-16", "postrouting"]);
    const nftables = chain.code === 0 ? ["nftables"] : [];
    const found = await Promise.all(
      ["nft", "legacy"].map(async (kind) =>
        (await rulesOf(a, kind)).flatMap((line) =>
          /^-A POSTROUTING .*FLANNEL-M-/.test(line) ? [`iptables-${kind}`] : [],
        ),
      ),
    );
    return [...nftables, ...found.flat()].join();
  };
  const isIn = (place: string) =>
    waitUntil(async () => (await places()) === place, {
      signal,
      within: PATIENCE,
      what: `rules are in ${place}`,
    });
  const isLetPass = () =>
    waitUntil(async () => (await rulesOf(a, "legacy")).length > 1, {
      signal,
      within: PATIENCE,
      what: "the overlay is let pass",
    });
  await isIn("nftables");
  await isLetPass();
  await untilPing(b.pod, a.pod);
  const { argv } = a.daemon;
  for (const [flag, place] of [
    ["--firewall=iptables", "iptables-legacy"],
    ["--firewall=nftables", "nftables"],
  ] as const) {
    a.daemon.argv = [...argv, flag];
    const { lost } = await pingDuring(b.pod, { to: a.pod.address, signal }, async () => {
      await a.daemon.restart();
      await isIn(place);
    });
    expect(lost).toBe(0);
  }
  a.daemon.argv = [...argv, "--firewall=none"];
  await a.daemon.restart();
  await isIn("");
  const allRules = async () => `${await a.run(["nft", "list", "ruleset"])}${(await rulesOf(a, "legacy")).join("\n")}`;
  await waitUntil(async () => !/flannel-|FLANNEL-/.test(await allRules()), {
    signal,
    within: PATIENCE,
    what: "none of our rules is left",
  });

  const leftovers = async () => {
    using firewall = await openFirewall({ namespace: a.namespace.path, signal });
    const table = firewall.leftovers({ others: [parsePrefix("10.5.0.0/16")], allOthers: true, ours: "all" });
    const rows = await table.list({ signal });
    expect(await table.apply({ puts: [], removals: rows }, { signal })).toEqual([]);
    return rows.map((row) => table.format(row));
  };
  expect(await leftovers()).toEqual([]);
  a.daemon.argv = argv;
  await a.daemon.restart();
  await isIn("nftables");
  await isLetPass();
  await a.daemon.stop();
  await a.run(["iptables-nft-restore"], { input: ITS_RULES });
  await a.run(["nft", "-f", "-"], { input: ITS_TABLE });
  const files = [`--state-dir=${a.stateDirectory}`, `--subnet-file=${a.subnetFile}`];
  const report = await a.run([launcher("flannel"), "cleanup", "--force", "--json", ...files]);
  const { removed } = JSON.parse(report) as { readonly removed: readonly { kind: string; name: string }[] };
  expect(removed.flatMap(({ kind, name }) => (kind === "rules" ? [name] : []))).toEqual([
    "iptables-nft -t nat chain FLANNEL-POSTRTG",
    "iptables-nft -t nat -A POSTROUTING -s 10.5.0.0/16 -d 10.5.0.0/16 -j RETURN",
    "iptables-nft -t nat -A POSTROUTING -s 10.5.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE",
    "iptables-nft -t nat -A POSTROUTING ! -s 10.5.0.0/16 -d 10.5.0.0/16 -j MASQUERADE",
    "iptables-nft -t filter chain FLANNEL-FWD",
    "iptables-legacy -t filter chain FLANNEL-F-10.5.0.0-16",
    "nftables table ip flannel-10.5.0.0-16",
    "nftables table ip flannel-ipv4",
  ]);
  expect(await leftovers()).toEqual([]);
});
