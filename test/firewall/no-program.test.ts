import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { complaints, hostsOf, untilPing } from "../e2e/hosts.ts";
import { pingDuring } from "../support/pings.ts";
import { withoutPrograms } from "../support/without-programs.ts";

const { signal } = new AbortController();

test("flanneld on a host without any program for packet filters carries packets, and says once what it cannot do", async () => {
  await using lab = await Lab.up({ hosts: 2, daemons: false, flags: ["--ip-masq", "--clamp-mss"], signal });
  for (const { daemon } of lab.hosts) withoutPrograms(daemon, ["nft", "iptables", "iptables-nft", "iptables-legacy"]);
  for (const host of lab.hosts) {
    await host.startDaemon();
    await host.addPod();
  }
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  await untilPing(a.pod, b.pod);
  const { lost } = await pingDuring(b.pod, { to: a.pod.address, signal }, () => a.daemon.restart());
  expect(lost).toBe(0);
  const said = complaints(a).map((line) => line.replace(/^.*?\] /, ""));
  expect(said).toEqual([SAID, SAID]); // one for each start
  expect(await a.run(["nft", "list", "ruleset"])).toBe("");
});

const SAID =
  'cannot keep rules in this host\'s packet filters network=10.5.0.0/16 reason="neither nft nor iptables can be used" needed_for="--ip-masq, --clamp-mss, forwarding, --underlay-admission"';
