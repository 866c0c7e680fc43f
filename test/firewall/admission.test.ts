import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import type { Place } from "../../src/lab/place.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { ceiling, complaints, deleteLease, PATIENCE, untilPing, withPod } from "../e2e/hosts.ts";
import { pingDuring } from "../support/pings.ts";
import { PYTHON } from "../support/python.ts";
import { withoutPrograms } from "../support/without-programs.ts";

const { signal } = new AbortController();

/** Sends vxlan datagrams with a ping to a pod in them: argv are the host, the VNI, the VTEP's MAC, the pod, and how many. */
const INJECT = `
import socket, struct, sys
host, vni, mac, pod, count = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3].replace(":", "")), sys.argv[4], int(sys.argv[5])
def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xffff)
    return 0xffff - ((total >> 16) + (total & 0xffff))
icmp = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
icmp = struct.pack("!BBHHH", 8, 0, checksum(icmp), 1, 1)
ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(icmp), 1, 0, 64, 1, 0, socket.inet_aton("10.5.250.9"), socket.inet_aton(pod))
ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
frame = mac + bytes.fromhex("020000000099") + b"\\x08\\x00" + ip + icmp
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(count):
    s.sendto(struct.pack("!BBHI", 8, 0, 0, vni << 8) + frame, (host, 8472))`;

/** Where strangers are kept out, as the programs of that kind show it. */
interface Admission {
  readonly name: string;
  /** Makes a host's daemon use it. */
  readonly prepare: (host: LabHost) => Promise<void>;
  readonly chain: readonly string[];
  /** How many packets it has refused. */
  readonly refused: (host: Place) => Promise<number>;
  readonly peers: readonly string[];
  /** Takes all of it away. */
  readonly flush: readonly (readonly string[])[];
}

const OURS = ["ip", "flannel-10.5.0.0-16"];
const MANGLE = ["iptables-legacy", "-t", "mangle"];

const NFTABLES: Admission = {
  name: "nftables",
  prepare: async () => {},
  chain: ["nft", "list", "chain", ...OURS, "input"],
  refused: async (host) =>
    Number(/packets (\d+)/.exec(await host.run(["nft", "list", "counter", ...OURS, "refused"]))?.[1]),
  peers: ["nft", "list", "set", ...OURS, "peers"],
  flush: [["nft", "flush", "ruleset"]],
};
const ADMISSIONS: readonly Admission[] = [
  NFTABLES,
  {
    name: "iptables and ipset, where there is no nft",
    prepare: async (host) => {
      await host.run([...MANGLE, "-A", "PREROUTING", "-s", "203.0.113.0/24", "-j", "RETURN"]);
      withoutPrograms(host.daemon, ["nft"]);
    },
    chain: [...MANGLE, "-S", "FLANNEL-U-10.5.0.0-16"],
    refused: async (host) =>
      Number(/-c (\d+) \d+ -j DROP/.exec(await host.run([...MANGLE, "-v", "-S", "FLANNEL-U-10.5.0.0-16"]))?.[1]),
    peers: ["ipset", "list", "flannel-10.5.0.0-16"],
    flush: [
      [...MANGLE, "-F"],
      ["ipset", "flush"],
    ],
  },
];

async function peers(host: Place, { peers: list }: Admission): Promise<readonly string[]> {
  const { stdout } = await host.exec(list);
  return (stdout.match(/192\.168\.\d+\.\d+/g) ?? []).toSorted();
}

test.each(ADMISSIONS)(
  "flanneld with $name lets in packets of its vxlan network from peers only, counts the others, and touches no other network's",
  async (admission) => {
    await using lab = await Lab.up({ hosts: 3, daemons: false, signal });
    const [first] = lab.hosts;
    const argv = first?.daemon.argv ?? [];
    if (first !== undefined) await admission.prepare(first);
    await Promise.all(
      lab.hosts.map(async (host) => {
        await host.startDaemon();
        await host.addPod();
      }),
    );
    const refused = admission.refused;
    const [a, b, c] = [withPod(lab.hosts[0]), withPod(lab.hosts[1]), withPod(lab.hosts[2])];
    await untilPing(a.pod, b.pod);
    const addresses = [b.address, c.address].toSorted();
    const arePeers = (wanted: readonly string[]) =>
      waitUntil(async () => (await peers(a, admission)).join() === wanted.join(), {
        signal,
        within: ceiling(2_000),
        what: `the set is ${wanted.join()}`,
      });
    await arePeers(addresses);
    await waitUntil(async () => (await a.exec(admission.chain)).code === 0, {
      signal,
      within: PATIENCE,
      what: "the chain stands",
    });

    const mac = /link\/ether (\S+)/.exec(await a.run(["ip", "link", "show", "flannel.1"]))?.[1] ?? "";
    const received = async () =>
      Number((await a.pod.run(["nstat", "-asz", "IcmpInEchos"])).match(/IcmpInEchos\s+(\d+)/)?.[1]);
    const inject = (from: Pick<Place, "run">, vni: number) =>
      from.run([PYTHON, "-c", INJECT, a.address, String(vni), mac, a.pod.address, "100"]);
    const rogue = lab.switch.namespace;

    // That these datagrams would reach the pod is shown by a peer that sends them.
    const before = await received();
    await inject(b, 1);
    await waitUntil(async () => (await received()) === before + 100, {
      signal,
      within: PATIENCE,
      what: "a peer's datagrams reach the pod",
    });
    expect(await refused(a)).toBe(0);

    const { lost } = await pingDuring(b.pod, { to: a.pod.address, signal }, () => inject(rogue, 1));
    expect(lost).toBe(0);
    await waitUntil(async () => (await refused(a)) >= 100, { signal, within: PATIENCE, what: "the rogue's arrive" });
    expect(await refused(a)).toBe(100);

    // Another network on the same port, which has let nobody tell whom to refuse.
    await a.namespace.ip([
      `link add vxlan7 address ${mac} type vxlan id 7 dev eth0 dstport 8472 nolearning local ${a.address}`,
      "link set vxlan7 up",
    ]);
    await inject(rogue, 7);
    await waitUntil(async () => / RX.*\n\s+\d+\s+100 /.test(await a.run(["ip", "-s", "link", "show", "vxlan7"])), {
      signal,
      within: PATIENCE,
      what: "another network's datagrams arrive",
    });
    expect(await refused(a)).toBe(100);

    const gone = c.address;
    await c.daemon.stop("SIGKILL"); // else it would take its lease again at once
    await deleteLease(lab, c);
    await arePeers(addresses.filter((address) => address !== gone));
    await c.startDaemon();
    await arePeers(addresses);
    await untilPing(c.pod, a.pod, ceiling(1_000));

    const again = await pingDuring(b.pod, { to: a.pod.address, signal }, () => a.daemon.restart());
    expect(again.lost).toBe(0);
    expect(await refused(a), "a restart makes nothing anew").toBe(100);
    for (const command of admission.flush) await a.run(command);
    await arePeers(addresses);
    await untilPing(a.pod, b.pod);
    expect(complaints(a).filter((line) => !line.includes("came from no peer"))).toEqual([]);

    if (admission === NFTABLES) return;
    await a.daemon.stop();
    a.daemon.argv = argv;
    await a.startDaemon();
    const isGone = async () => (await a.exec(admission.chain)).code !== 0 && (await peers(a, admission)).length === 0;
    await waitUntil(isGone, { signal, within: PATIENCE, what: "nothing is left where there was no nft" });
    await waitUntil(async () => (await peers(a, NFTABLES)).join() === addresses.join(), {
      signal,
      within: PATIENCE,
      what: "nftables has the peers",
    });
  },
);
