import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import { formatPrefix } from "../../src/ip/prefix.ts";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { launcher } from "../../src/lab/launcher.ts";
import type { Place } from "../../src/lab/place.ts";
import { ended } from "../../src/lab/program.ts";
import { Service } from "../../src/lab/service.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { parseSubnetEnv } from "../../src/lease/subnet-env.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { openSqliteRegistry } from "../../src/store/sqlite/sqlite-registry.ts";
import { pingDuring } from "../support/pings.ts";
import { ceiling, untilPing } from "./hosts.ts";

// Here and not beside the other tests of the firewall: all namespaces share the lock of iptables, and this one lets nobody else have it.
const { signal } = new AbortController();

/**
 * As kube-proxy in its iptables mode, in both iptables, and in its nftables mode, all without a pause until the file $1 is there: its chains are
 * written anew, its jump stands first in FORWARD when it begins, and rules for single services come and go. Says so each time.
 */
const CHURN = `
n=0
for kind in nft legacy; do
  iptables-$kind -w -N KUBE-FORWARD; iptables-$kind -w -I FORWARD -j KUBE-FORWARD
done
while [ ! -e "$1" ]; do
  n=$((n + 1))
  for kind in nft legacy; do
    {
      printf '*filter\\n:KUBE-FORWARD - [0:0]\\n-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\\n'
      printf -- '-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT\\nCOMMIT\\n*nat\\n:KUBE-POSTROUTING - [0:0]\\n:KUBE-SERVICES - [0:0]\\n'
      for i in 1 2 3 4 5 6 7 8 9 10; do printf -- "-A KUBE-SERVICES -d 10.96.$((n % 200)).$i/32 -p tcp -m tcp --dport 80 -j RETURN\\n"; done
      printf -- '-A KUBE-POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE\\nCOMMIT\\n'
    } | iptables-$kind-restore --noflush -w || exit 1
    iptables-$kind -w -t nat -C POSTROUTING -j KUBE-POSTROUTING 2>/dev/null || iptables-$kind -w -t nat -I POSTROUTING -j KUBE-POSTROUTING
    iptables-$kind -w -A FORWARD -d "10.97.0.$((n % 200))" -j ACCEPT && iptables-$kind -w -D FORWARD -d "10.97.0.$((n % 200))" -j ACCEPT || exit 1
  done
  printf "add table ip kube-proxy\\ndelete table ip kube-proxy\\ntable ip kube-proxy { set s { type ipv4_addr; elements = { 10.96.0.$((n % 200)) }; }; chain c { type nat hook postrouting priority 90; policy accept; ip daddr @s return; }; }\\n" | nft -f - || exit 1
  echo "$n"
done`;

/** A second network's daemon on the same host, with files of its own, and then a pod of it. */
async function second(host: LabHost, file: string): Promise<{ readonly daemon: Service; addPod(): Promise<Place> }> {
  const subnetFile = join(host.directory, "second.env");
  const daemon = new Service({
    name: "second",
    argv: [
      launcher("flanneld"),
      `--embedded-store=${file}`,
      "--ip-masq",
      `--subnet-file=${subnetFile}`,
      `--state-dir=${join(host.directory, "second-state")}`,
    ],
    namespace: host.namespace,
    signal,
    directory: host.directory,
  });
  await daemon.start();
  return {
    daemon,
    async addPod() {
      const env = parseSubnetEnv(await host.run(["cat", subnetFile]));
      await host.namespace.ip([`addr add ${formatPrefix(env.subnet)} dev cni0`]);
      return await host.addPod(env);
    },
  };
}

test("two flannelds of a host and a kube-proxy write rules at the same time: traffic flows, and each one's rules stand once and in order", async () => {
  await using lab = await Lab.up({ hosts: 2, daemons: false, flags: ["--ip-masq"], signal });
  const file = join(lab.hosts[0]?.directory ?? "", "second.db");
  {
    await using registry = await openSqliteRegistry(file, { clock: systemClock, logger: silentLogger }, { signal });
    await registry.setConfig("", JSON.stringify({ Network: "10.6.0.0/16", Backend: { Type: "vxlan", VNI: 2 } }), {
      signal,
    });
  }
  const stop = join(lab.hosts[0]?.directory ?? "", "stop");
  const churning = lab.hosts.map((host) => {
    const child = host.spawn(["bash", "-c", CHURN, "bash", stop], { stdio: ["ignore", "pipe", "inherit"] });
    let times = 0;
    if (child.stdout !== null) createInterface({ input: child.stdout }).on("line", () => times++);
    return { times: () => times, end: ended(child) };
  });
  for (const kind of ["nft", "legacy"])
    await Promise.all(lab.hosts.map((host) => host.run([`iptables-${kind}`, "-w", "-P", "FORWARD", "DROP"])));
  const hosts = await Promise.all(
    lab.hosts.map(async (host) => {
      await host.daemon.start();
      return { host, other: await second(host, file) };
    }),
  );
  const pods = await Promise.all(
    hosts.map(async ({ host, other }) => {
      await host.daemon.ready();
      await other.daemon.ready();
      return [await host.addPod(), await other.addPod()] as const;
    }),
  );
  const [[a1, a2] = [], [b1, b2] = []] = pods;
  const [{ host: a, other } = {}] = hosts;
  if (!(a && other && a1 && a2 && b1 && b2)) throw new Error("two hosts with two pods each are needed");
  await untilPing(a1, b1);
  await untilPing(a2, b2);
  const { lost: lostInFirst } = await pingDuring(a1, { to: b1.address, signal }, async () => {
    const { lost: lostInSecond } = await pingDuring(b2, { to: a2.address, signal }, async () => {
      await Promise.all([a.daemon.restart(), other.daemon.restart("SIGKILL")]);
    });
    expect(lostInSecond).toBe(0);
  });
  expect(lostInFirst).toBe(0);
  // Who waits for the lock of iptables is not served in turn.
  const hasChurned = () => churning.every(({ times }) => times() > 5);
  await waitUntil(hasChurned, { signal, within: 60_000, what: "both have written their rules a few times" });
  writeFileSync(stop, "");
  for (const { end } of churning) expect(await end).toBe(0);

  const rules = async (kind: string) => (await a.run([`iptables-${kind}-save`])).split("\n");
  const forward = async (kind: string) => (await rules(kind)).filter((line) => line.startsWith("-A FORWARD"));
  const ours = ["-A FORWARD -j FLANNEL-F-10.5.0.0-16", "-A FORWARD -j FLANNEL-F-10.6.0.0-16"];
  for (const kind of ["nft", "legacy"]) {
    await waitUntil(async () => (await forward(kind)).slice(0, 2).toSorted().join() === ours.join(), {
      signal,
      within: ceiling(2_000),
      what: `ours stand first in iptables-${kind}`,
    });
    expect((await forward(kind)).slice(2)).toEqual(["-A FORWARD -j KUBE-FORWARD"]);
    const all = await rules(kind);
    const of = (chain: string) => all.filter((line) => line.startsWith(`-A ${chain} `)).length;
    expect([of("FLANNEL-F-10.5.0.0-16"), of("FLANNEL-F-10.6.0.0-16"), of("KUBE-FORWARD")]).toEqual([2, 2, 2]);
    expect([of("KUBE-SERVICES"), of("KUBE-POSTROUTING")]).toEqual([10, 1]);
    // Which iptables was in use when they began is left to chance: in one of them, and once.
    const jumps = all.filter((line) => line.startsWith("-A POSTROUTING -j FLANNEL-M-"));
    expect(new Set(jumps).size).toBe(jumps.length);
  }
  const inBoth = async () => [...(await rules("nft")), ...(await rules("legacy"))];
  const isMasqueradeJump = (line: string) => line.startsWith("-A POSTROUTING -j FLANNEL-M-");
  await waitUntil(async () => (await inBoth()).filter(isMasqueradeJump).length === 2, {
    signal,
    within: ceiling(2_000),
    what: "who began again elsewhere has left nothing where it was",
  });
  const everywhere = await inBoth();
  for (const network of ["10.5.0.0-16", "10.6.0.0-16"]) {
    expect(everywhere.filter((line) => line === `-A POSTROUTING -j FLANNEL-M-${network}`)).toHaveLength(1);
    expect(everywhere.filter((line) => line.startsWith(`-A FLANNEL-M-${network} `))).toHaveLength(6);
  }
});
