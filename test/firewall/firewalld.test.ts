import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { ceiling, hostsOf, untilPing } from "../e2e/hosts.ts";
import { Firewalld } from "../support/firewalld.ts";
import { pingDuring } from "../support/pings.ts";

const { signal } = new AbortController();

/** Waits for lines of a daemon's log: looks at rules are the rarer the slower the machine is. @returns the first group of each */
async function said(host: LabHost, ...texts: readonly RegExp[]): Promise<readonly string[]> {
  return await waitUntil(
    () => {
      const found = texts.flatMap((text) => text.exec(host.daemon.log())?.slice(1, 2) ?? []);
      return found.length === texts.length && found;
    },
    { signal, within: 60_000, what: `${host.name}'s log says ${texts.join(" and ")}` },
  );
}

const FORWARD =
  "somebody's rule stops packets of the overlay, and no rule of ours can let them pass network=10.5.0.0/16";
const INPUT =
  "somebody's rule stops packets of other hosts to this one: the overlay needs this UDP port network=10.5.0.0/16 port=8472";
const OVER = [
  /(nobody's rule stops packets of the overlay any more)/,
  /(nobody's rule stops packets of other hosts to this one any more)/,
];

test("beside firewalld flanneld names its rules that stop the overlay, and the commands that it names let it pass, also when firewalld reloads", async () => {
  await using lab = await Lab.up({ hosts: 2, flags: ["--ip-masq"], signal });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  await untilPing(a.pod, b.pod, ceiling(1_000));
  const [onA, onB] = await Promise.all([
    Firewalld.start(a, { backend: "nftables", zone: "public", signal }),
    Firewalld.start(b, { backend: "iptables", zone: "drop", signal }),
  ]);
  await untilPing(a.pod, b.pod, ceiling(1_000), false);

  // A reject in its own chain is final; in iptables the overlay is accepted before its rules.
  const place = 'table="inet firewalld" chain=filter_';
  const reject = 'rule="reject with icmpx admin-prohibited" remedy="(.*)"';
  const remedies = [
    ...(await said(
      a,
      RegExp(`W.* ${FORWARD} ${place}FWD_public ${reject}`),
      RegExp(`W.* ${INPUT} ${place}IN_public ${reject}`),
    )),
    ...(await said(
      b,
      RegExp(`W.* ${INPUT} table="iptables-nft filter" chain=IN_drop rule="-A IN_drop -j DROP" remedy="(.*)"`),
    )),
  ];
  expect(remedies).toEqual([
    "firewall-cmd --permanent --zone=trusted --add-source=10.5.0.0/16 && firewall-cmd --reload",
    "firewall-cmd --permanent --zone=public --add-port=8472/udp && firewall-cmd --reload",
    "firewall-cmd --permanent --zone=drop --add-port=8472/udp && firewall-cmd --reload",
  ]);
  const [forward = "", port = "", portOfB = ""] = remedies;
  await Promise.all([onA.type(`${forward} && ${port}`), onB.type(portOfB)]);
  await untilPing(a.pod, b.pod, ceiling(1_000));
  await untilPing(b.pod, a.pod, ceiling(1_000));
  await said(a, ...OVER);
  await said(b, ...OVER.slice(1));
  expect(b.daemon.log()).not.toContain(FORWARD);

  const rules = async () =>
    (
      await Promise.all([a, b].map((host) => host.run(["nft", "-s", "list", "table", "ip", "flannel-10.5.0.0-16"])))
    ).join();
  const before = await rules();
  // While it reloads, it lets in nothing that it does not know as a connection; vxlan's datagrams, whose answers have other ports, never are one.
  const { missing, sent } = await pingDuring(a.pod, { to: b.pod.address, signal }, async () => {
    await Promise.all([onA, onB].map((firewalld) => firewalld.type("firewall-cmd --reload")));
  });
  expect(missing.at(-1)).not.toBe(sent);
  expect(await rules()).toBe(before);
  const first = async () => await b.run(["iptables-nft", "-S", "FORWARD", "1"]);
  await waitUntil(async () => (await first()) === "-A FORWARD -j FLANNEL-F-10.5.0.0-16\n", {
    signal,
    within: ceiling(2_000),
    what: "the overlay is accepted before firewalld's rules",
  });
}, 180_000);
