import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { formatAddress } from "../../src/ip/address.ts";
import { openFirewall } from "../../src/kernel/firewall/linux-firewall.ts";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import type { Place } from "../../src/lab/place.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { forwardChain, masqueradeChain } from "../../src/network/firewall/rules.ts";
import { ceiling, complaints, PATIENCE, subnetOf, untilPing, withPod } from "../e2e/hosts.ts";
import { capture } from "../support/capture.ts";
import { FLAVOURS } from "./flavours.ts";
import { handmadeIPv6 } from "./ipv6.ts";
import { shout, sourceSeen, witness } from "./sources.ts";

const { signal } = new AbortController();
const WITHIN = ceiling(2_000);

/** Beyond the overlay, on the hosts' own network. */
const EXCLUDED = "198.51.100.1";
const MARKED_PORT = 5555;

describe.each(FLAVOURS)("on a host with $name", (flavour) => {
  let lab: Lab;
  let a: LabHost & { readonly pod: Place };
  let b: LabHost & { readonly pod: Place };

  beforeAll(async () => {
    const flags = ["--ip-masq", "--ip-masq-exclude=198.51.100.0/24", "--clamp-mss"];
    lab = await Lab.up({ hosts: 2, daemons: false, flags, signal });
    for (const host of lab.hosts) {
      await flavour.prepare(host);
      await host.startDaemon();
      await host.addPod();
    }
    [a, b] = [withPod(lab.hosts[0]), withPod(lab.hosts[1])];
  });
  afterAll(() => lab?.down());
  afterEach(({ task }) => {
    if (task.result?.state === "fail") console.log(a.daemon.log());
  });

  /** Rules of ours for what leaves the overlay. */
  const masquerading = async () =>
    (await flavour.rules(a)).split("\n").filter((line) => /FLANNEL-M|10\.5\./.test(line) && !/FLANNEL-F/.test(line));

  test("flanneld masquerades what leaves the overlay and nothing else", async () => {
    const areThere = async () => (await masquerading()).length > 6; // it waits for them 5 s, and then does without
    await waitUntil(areThere, { signal, within: PATIENCE, what: "rules stand" });
    const outside = lab.switch.namespace;
    const outsideAddress = formatAddress(lab.switch.address);
    // Outside, the way to b's pods leads through a: as for whoever reaches the overlay by any of its hosts.
    await outside.ip([
      `addr add ${EXCLUDED}/32 dev br0`,
      `route add ${subnetOf(a)} via ${a.address}`,
      `route add ${subnetOf(b)} via ${a.address}`,
    ]);
    await using far = await witness(outside, { signal, multicastOn: outsideAddress });
    await using _own = await witness(a.pod, { signal });
    await using _remote = await witness(b.pod, { signal });
    const second = await a.addPod();
    const vtep = subnetOf(a).replace("/24", "");
    // What kube-proxy does to packets that it will masquerade itself, with one more bit set.
    await a.run(
      [flavour.iptables, "-t", "mangle", "-A", "PREROUTING", "-p", "tcp", "--sport", String(MARKED_PORT)].concat([
        "-j",
        "MARK",
        "--set-mark",
        "0x4001",
      ]),
    );
    const seen = {
      "pod to pod of its host": sourceSeen(second, a.pod.address),
      "pod to pod of another host": sourceSeen(a.pod, b.pod.address),
      "pod to the outside": sourceSeen(a.pod, outsideAddress),
      "pod to an excluded network": sourceSeen(a.pod, EXCLUDED),
      "pod with a mark to the outside": sourceSeen(a.pod, outsideAddress, { port: MARKED_PORT }),
      "host to pod of another host": sourceSeen(a, b.pod.address),
      "outside to pod of the host": sourceSeen(outside, a.pod.address),
      "outside to pod of another host": sourceSeen(outside, b.pod.address),
      "excluded network to pod of another host": sourceSeen(outside, b.pod.address, { source: EXCLUDED }),
    };
    expect(
      Object.fromEntries(await Promise.all(Object.entries(seen).map(async ([from, to]) => [from, await to]))),
    ).toEqual({
      "pod to pod of its host": second.address,
      "pod to pod of another host": a.pod.address,
      "pod to the outside": a.address,
      "pod to an excluded network": a.pod.address,
      "pod with a mark to the outside": a.pod.address,
      "host to pod of another host": vtep,
      "outside to pod of the host": outsideAddress,
      "outside to pod of another host": vtep,
      "excluded network to pod of another host": EXCLUDED,
    });
    const gateway = subnetOf(a).replace("0/24", "1");
    await shout(a, gateway, a.address);
    await waitUntil(() => far.heard().includes("multicast"), { signal, within: PATIENCE, what: "multicast is heard" });
    expect(far.heard()).toContain(`multicast from ${gateway}`);
    expect(a.subnetEnv().ipMasq).toBe(true);
  });

  test("the same rules for a network of IPv6 do the same", async () => {
    const outside = lab.switch.namespace;
    const { network, subnet, excluded, addresses } = await handmadeIPv6([a, b], outside);
    const [[pod = "", second = ""] = [], [remote = ""] = []] = addresses.pods;
    using firewall = await openFirewall({ namespace: a.namespace.path, signal });
    const table = flavour.table(firewall, network);
    const chains = [masqueradeChain({ network, subnet, excluded: [excluded] }), forwardChain(network)];
    const puts = flavour.iptables === flavour.name ? chains : chains.slice(0, 1);
    expect(await table.apply({ puts, removals: [] }, { signal })).toEqual([]);
    await using far = await witness(outside, { signal, multicastOn: "::%br0" });
    await using _own = await witness(a.pod, { signal });
    await using _remote = await witness(b.pod, { signal });
    const mark = ["-t", "mangle", "-A", "PREROUTING", "-p", "tcp", "--sport", String(MARKED_PORT), "-j", "MARK"];
    await a.run([flavour.iptables.replace("ip", "ip6"), ...mark, "--set-mark", "0x4001"]);
    const from = a.pods[1] ?? a.pod;
    const seen = {
      "pod to pod of its host": sourceSeen(from, pod),
      "pod to pod of another host": sourceSeen(a.pod, remote),
      "pod to the outside": sourceSeen(a.pod, addresses.outside),
      "pod to an excluded network": sourceSeen(a.pod, addresses.excluded),
      "pod with a mark to the outside": sourceSeen(a.pod, addresses.outside, { port: MARKED_PORT }),
      "host to pod of another host": sourceSeen(a, remote),
      "outside to pod of the host": sourceSeen(outside, pod),
      "outside to pod of another host": sourceSeen(outside, remote),
      "excluded network to pod of another host": sourceSeen(outside, remote, { source: addresses.excluded }),
    };
    expect(
      Object.fromEntries(await Promise.all(Object.entries(seen).map(async ([way, source]) => [way, await source]))),
    ).toEqual({
      "pod to pod of its host": second,
      "pod to pod of another host": pod,
      "pod to the outside": addresses.host,
      "pod to an excluded network": pod,
      "pod with a mark to the outside": pod,
      "host to pod of another host": addresses.host,
      "outside to pod of the host": addresses.outside,
      "outside to pod of another host": addresses.host,
      "excluded network to pod of another host": addresses.excluded,
    });
    await shout(a, addresses.gateway, "eth0");
    await waitUntil(() => far.heard().includes("multicast"), { signal, within: PATIENCE, what: "multicast is heard" });
    expect(far.heard()).toContain(`multicast from ${addresses.gateway}`);
    expect(await table.apply({ puts: [], removals: await table.list({ signal }) }, { signal })).toEqual([]);
  });

  test("flanneld lets pods with an MTU that is too large agree on segments that fit through the overlay", async () => {
    const both = [a, b] as const;
    for (const { namespace, pods, pod } of both) {
      await namespace.ip(pods.map(({ name }) => `link set ${name} mtu 1500`).concat("link set cni0 mtu 1500"));
      await pod.namespace.ip(["link set eth0 mtu 1500"]);
    }
    // Each end hears what the other one asked for, made smaller on the way.
    await using _far = await witness(b.pod, { signal });
    const watch = { link: "eth0", filter: "tcp[tcpflags] & tcp-syn != 0", signal };
    const [atA, atB] = await Promise.all([capture(a.pod, watch), capture(b.pod, watch)]);
    expect(await sourceSeen(a.pod, b.pod.address)).toBe(a.pod.address);
    const seen = await Promise.all([atA.stop(2), atB.stop(2)]);
    const sizes = seen.map((packets) => [...new Set(packets.map((line) => /mss (\d+)/.exec(line)?.[1]))]); // one may come again
    const fits = String(a.subnetEnv().mtu - 40);
    expect(sizes).toEqual([
      ["1460", fits],
      [fits, "1460"],
    ]);
  });

  test("flanneld puts its rules back after a flush, in their order and once, also after one is taken out of the middle", async () => {
    const before = await masquerading();
    expect(before.length).toBeGreaterThan(6);
    const isBack = () =>
      waitUntil(async () => (await masquerading()).join("\n") === before.join("\n"), {
        signal,
        within: WITHIN,
        what: "rules are as before",
      });
    for (let time = 1; time <= 2; time++) {
      await flavour.flush(a);
      await isBack();
    }
    a.daemon.signal("SIGSTOP"); // else it may be quicker than who looks
    await flavour.damage(a);
    expect(await masquerading()).not.toEqual(before);
    a.daemon.signal("SIGCONT");
    await isBack();
  });

  test("flanneld lets the overlay pass where the policy is DROP, before what Docker and others insert", async () => {
    const rule = (...args: readonly string[]) => a.run([flavour.iptables, ...args]);
    await rule("-P", "FORWARD", "DROP");
    await untilPing(a.pod, b.pod, WITHIN);
    // As dockerd does at its start.
    await rule("-N", "DOCKER-USER");
    await rule("-A", "DOCKER-USER", "-j", "RETURN");
    await rule("-N", "DOCKER-ISOLATION");
    await rule("-A", "DOCKER-ISOLATION", "-j", "DROP");
    await rule("-I", "FORWARD", "-j", "DOCKER-ISOLATION");
    await rule("-I", "FORWARD", "-j", "DOCKER-USER");
    await untilPing(a.pod, b.pod, WITHIN);
    await rule("-I", "FORWARD", "-j", "REJECT");
    await untilPing(b.pod, a.pod, WITHIN);
    const forward = (await rule("-S", "FORWARD")).trim().split("\n");
    expect(forward).toEqual([
      "-P FORWARD DROP",
      "-A FORWARD -j FLANNEL-F-10.5.0.0-16",
      "-A FORWARD -j REJECT --reject-with icmp-port-unreachable",
      "-A FORWARD -j DOCKER-USER",
      "-A FORWARD -j DOCKER-ISOLATION",
    ]);
  });

  test("flanneld's rules outlive it, and a restart leaves them alone", async () => {
    const before = await masquerading();
    await a.daemon.stop();
    expect(await masquerading()).toEqual(before);
    await untilPing(a.pod, b.pod);
    await a.startDaemon();
    expect(await masquerading()).toEqual(before);
    expect(complaints(a)).toEqual([]);
  });
});
