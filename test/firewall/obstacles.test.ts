import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { ceiling, untilPing, withPod } from "../e2e/hosts.ts";

const { signal } = new AbortController();

/** @returns what the log says after its first `from` characters */
async function saidBy(host: LabHost, from: number, text: RegExp): Promise<string> {
  return await waitUntil(() => text.exec(host.daemon.log().slice(from))?.[0], {
    signal,
    within: 60_000, // looks are the rarer the slower the machine is
    what: `${host.name}'s log says ${text}`,
  });
}

test("flanneld names the rule of others that stops the overlay and that it cannot win against, and says when it is gone, vxlan's port and udp's", async () => {
  await using lab = await Lab.up({ hosts: 2, signal });
  const [a, b] = [withPod(lab.hosts[0]), withPod(lab.hosts[1])];
  const nft = (input: string) => a.run(["nft", "-f", "-"], { input });
  const said = (from: number, text: RegExp) => saidBy(a, from, text);
  await untilPing(a.pod, b.pod, ceiling(1_000));
  // Each with what it forbids to be forwarded, and what it forbids to come in.
  const cases = [
    {
      rules: `table inet site { chain late { type filter hook forward priority 50; policy accept;
         ct state established accept; ip saddr 192.0.2.0/24 drop; jump pods; };
         chain pods { oifname "flannel.1" ip daddr 10.0.0.0/8 counter reject; }; }`,
      table: "inet site",
      forward:
        /table="inet site" chain=pods rule="oifname \\"flannel.1\\" ip daddr 10.0.0.0\/8 counter reject with icmp port-unreachable"/,
      forbid: ["iptables-nft", "-P", "INPUT", "DROP"],
      input: /port=8472 table="iptables-nft filter" chain=INPUT rule="policy drop"/,
      allow: ["iptables-nft", "-A", "INPUT", "-s", b.address, "-j", "ACCEPT"],
    },
    {
      rules: `table ip other { chain forward { type filter hook forward priority 0; policy drop;
         ct state vmap { established : accept, related : accept }; iifname "eth7" accept; }; }`,
      table: "ip other",
      forward: /table="ip other" chain=forward rule="policy drop"/,
      forbid: ["iptables-legacy", "-A", "INPUT", "-p", "udp", "--dport", "8472", "-j", "REJECT"],
      input:
        /port=8472 table="iptables-legacy filter" chain=INPUT rule="-A INPUT -p udp -m udp --dport 8472 -j REJECT --reject-with icmp-port-unreachable"/,
      allow: [
        "iptables-legacy",
        "-I",
        "INPUT",
        "-p",
        "udp",
        "-m",
        "multiport",
        "--dports",
        "8000:9000",
        "-j",
        "ACCEPT",
      ],
    },
  ] as const;
  for (const one of cases) {
    const from = a.daemon.log().length;
    await a.run(one.forbid);
    await nft(one.rules);
    expect(await said(from, /W.*somebody's rule stops packets of the overlay.*/)).toMatch(one.forward);
    expect(await said(from, /W.*somebody's rule stops packets of other hosts to this one.*/)).toMatch(one.input);
    await untilPing(a.pod, b.pod, ceiling(1_000), false);
    await a.run(one.allow);
    await a.run(["nft", "delete", "table", ...one.table.split(" ")]);
    await said(from, /I.*nobody's rule stops packets of the overlay any more/);
    await said(from, /I.*nobody's rule stops packets of other hosts to this one any more/);
    await untilPing(a.pod, b.pod, ceiling(1_000));
  }
  const before = a.daemon.log().length;
  // Nothing of this stops what is the overlay's.
  await nft(`table inet site { chain forward { type filter hook forward priority 0; policy drop;
    iifname "cni0" accept; iifname "flannel.1" oifname { "cni0", "docker0" } accept; }; }`);
  await untilPing(a.pod, b.pod, ceiling(1_000));
  await nft(
    "table inet noise { chain c { type filter hook forward priority 1; policy accept; ip saddr 192.0.2.7 drop; }; }",
  );
  await new Promise((resolve) => setTimeout(resolve, 9_000));
  expect(a.daemon.log().slice(before)).not.toContain("somebody's rule");
  await nft("delete table inet site");
  await namesWhatStopsUdp(lab);
}, 180_000);

/** Each host has a firewall of another kind. */
async function namesWhatStopsUdp(lab: Lab): Promise<void> {
  const [a, b] = [withPod(lab.hosts[0]), withPod(lab.hosts[1])];
  await lab.setConfig({ Backend: { Type: "udp" } });
  await Promise.all([a.daemon.restart(), b.daemon.restart()]);
  await untilPing(a.pod, b.pod, ceiling(1_000));
  await untilPing(b.pod, a.pod, ceiling(1_000));
  const [onA = 0, onB = 0] = [a, b].map((host) => host.daemon.log().length);
  const rule = ["INPUT", "-p", "udp", "--dport", "8285", "-j", "REJECT"];
  await a.run(["nft", "-f", "-"], {
    input: `table inet site { chain entrance { type filter hook input priority 0; policy drop;
      iifname { "lo", "cni0", "flannel0" } accept; udp dport { 53, 8472 } accept; }; }`,
  });
  await untilPing(a.pod, b.pod, ceiling(1_000), false);
  await b.run(["iptables-legacy", "-A", ...rule]);
  const stops =
    "W.*somebody's rule stops packets of other hosts to this one: the overlay needs this UDP port network=10.5.0.0/16 port=8285";
  await saidBy(a, onA, RegExp(`${stops} table="inet site" chain=entrance rule="policy drop"`));
  await saidBy(
    b,
    onB,
    RegExp(`${stops} table="iptables-legacy filter" chain=INPUT rule="-A INPUT -p udp -m udp --dport 8285 -j REJECT`),
  );

  await a.run(["nft", "delete", "table", "inet", "site"]);
  await b.run(["iptables-legacy", "-D", ...rule]);
  const isOver = /I.*nobody's rule stops packets of other hosts to this one any more network=10\.5\.0\.0\/16 port=8285/;
  await saidBy(a, onA, isOver);
  await saidBy(b, onB, isOver);
  await untilPing(a.pod, b.pod, ceiling(1_000));
  await untilPing(b.pod, a.pod, ceiling(1_000));
}
