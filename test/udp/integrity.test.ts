import { describe, expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { complaints, hostsOf, PATIENCE, untilPing } from "../e2e/hosts.ts";
import { type DuplexResult, duplex } from "./duplex.ts";
import { loseDatagrams, roughCable, setPodOffloads, setRealDatagrams } from "./link-conditions.ts";
import { counted } from "./snmp.ts";

// Needs root: network namespaces.

const { signal } = new AbortController();
const MB = 1_000_000;

async function upWithPods(options: Partial<Parameters<typeof Lab.up>[0]> = {}) {
  const lab = await Lab.up({ hosts: 2, backend: "udp", signal, ...options });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  await untilPing(a.pod, b.pod);
  return {
    lab,
    a,
    b,
    /** Packets that pods refused for a wrong checksum, all together. */
    async wrongChecksums() {
      const errors = [a.pod, b.pod].map((pod) => counted(pod, "Tcp", "InCsumErrors"));
      return (await Promise.all(errors)).reduce((sum, count) => sum + count);
    },
    /** Both ways at once, so many bytes each. */
    exchange: (bytes: number, streams = 1) => duplex(a.pod, b.pod, { bytes: bytes / streams, streams, signal }),
    [Symbol.asyncDispose]: () => lab[Symbol.asyncDispose](),
  };
}

/** Everything arrived, of so many bytes each way. */
function expectAll({ bytes, isIntact }: DuplexResult, each: number): void {
  expect({ bytes, isIntact }).toEqual({ bytes: 2 * each, isIntact: true });
}

describe("udp delivers data in both directions at once, byte for byte,", () => {
  test("by superpackets and by real datagrams, by one stream and four, with the pods' offloads on and off", async () => {
    await using hosts = await upWithPods();
    const { lab, a, b, exchange } = hosts;
    expectAll(await exchange(100 * MB), 100 * MB);
    await setPodOffloads(lab.hosts, "off");
    expectAll(await exchange(50 * MB, 4), 50 * MB);
    await setRealDatagrams(lab.hosts, true);
    await setPodOffloads(lab.hosts, "on");
    expectAll(await exchange(100 * MB, 4), 100 * MB);
    expect(await hosts.wrongChecksums()).toBe(0);
    expect([...complaints(a), ...complaints(b)]).toEqual([]);
  });

  test("though the switch loses one datagram in a hundred", async () => {
    await using hosts = await upWithPods();
    await using loss = await loseDatagrams(hosts.lab, 10);
    expectAll(await hosts.exchange(25 * MB), 25 * MB); // a superpacket is lost at once
    await setRealDatagrams(hosts.lab.hosts, true);
    expectAll(await hosts.exchange(40 * MB, 4), 40 * MB);
    expect(await loss.lost()).toBeGreaterThan(200);
  });

  test("though a cable delivers datagrams late, twice and with wrong bytes", async () => {
    await using hosts = await upWithPods();
    const over = await roughCable(hosts.lab, hosts.a, { signal });
    await untilPing(hosts.a.pod, hosts.b.pod);
    expectAll(await hosts.exchange(20 * MB, 2), 20 * MB);
    const { late, twice, wrong } = await over();
    expect(Math.min(late, twice, wrong)).toBeGreaterThan(100);
    // Wrong bytes reach the pods as such: nobody on the way made their checksums right.
    expect(await hosts.wrongChecksums()).toBeGreaterThan(wrong / 2);
  });

  test.each([1400, 9000])("with an MTU of %i between hosts", async (mtu) => {
    await using hosts = await upWithPods({ mtu });
    expect(hosts.a.subnetEnv().mtu).toBe(mtu - 28);
    expectAll(await hosts.exchange(50 * MB), 50 * MB);
    await setRealDatagrams(hosts.lab.hosts, true);
    expectAll(await hosts.exchange(50 * MB), 50 * MB);
    expect(await hosts.wrongChecksums()).toBe(0);
  });

  test("over a path that is narrower than the hosts' own link", async () => {
    await using hosts = await upWithPods();
    const { a, b, exchange } = hosts;
    for (const [host, other] of [
      [a, b],
      [b, a],
    ] as const)
      await host.namespace.ip([`route add ${other.address}/32 dev eth0 mtu 1300`]);
    expectAll(await exchange(20 * MB, 2), 20 * MB);
    const whole = ["ping", "-n", "-c1", "-W5", "-M", "do", "-s", String(a.subnetEnv().mtu - 28), b.pod.address];
    expect((await a.pod.exec(whole)).code).toBe(0); // in two pieces outside
  });

  test("without offloads at one end, and at both", async () => {
    await using hosts = await upWithPods();
    const { lab, a, b, exchange } = hosts;
    await lab.setConfig({ Backend: { Type: "udp", Offload: false } });
    for (const host of [a, b]) {
      await host.daemon.restart("SIGTERM");
      await waitUntil(() => /udp packet path.*one packet per call/.test(host.daemon.log()), {
        signal,
        within: PATIENCE,
        what: `${host.name} works without offloads`,
      });
      await untilPing(a.pod, b.pod);
      expectAll(await exchange(25 * MB), 25 * MB);
    }
    expect(await hosts.wrongChecksums()).toBe(0);
  });
});
