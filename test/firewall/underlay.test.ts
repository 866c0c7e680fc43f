import { describe, expect, test } from "vitest";
import { plan } from "../../src/dataplane/plan.ts";
import type { Table } from "../../src/dataplane/table.ts";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { IpsetKernel } from "../../src/kernel/firewall/ipset-kernel.ts";
import { IpsetTable } from "../../src/kernel/firewall/ipset-table.ts";
import { openFirewall } from "../../src/kernel/firewall/linux-firewall.ts";
import { underlayChain } from "../../src/network/firewall/rules.ts";
import { Namespace } from "../kernel/linux-harness.ts";
import { PYTHON } from "../support/python.ts";

const { signal } = new AbortController();

/**
 * Sends vxlan datagrams to itself, ten of each kind: argv are an address and `PORT/VNI`, with `/hidden` behind an extension header. Prints
 * how many came, once one to a port of nobody's has, which was sent last: a busy kernel delivers when it comes to it.
 */
const SEND = `
import socket, struct, sys
address = sys.argv[1]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
for kind in sys.argv[2:]:
    port, vni, *hidden = kind.split("/")
    inward = socket.socket(family, socket.SOCK_DGRAM)
    inward.bind((address, int(port)))
    inward.settimeout(0.3)
    outward = socket.socket(family, socket.SOCK_DGRAM)
    outward.bind((address, 0))
    if hidden:
        outward.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, bytes([0, 0, 1, 4, 0, 0, 0, 0]))
    for _ in range(10):
        outward.sendto(struct.pack("!BBHI", 8, 0, 0, int(vni) << 8) + bytes(30), (address, int(port)))
    last = socket.socket(family, socket.SOCK_DGRAM)
    last.bind((address, 0))
    last.settimeout(10)
    socket.socket(family, socket.SOCK_DGRAM).sendto(b"last", last.getsockname()[:2])
    last.recv(100)
    count = 0
    try:
        while count < 10:
            inward.recv(100)
            count += 1
    except TimeoutError:
        pass
    print(count)
    inward.close()`;

async function make<Row>(table: Table<Row>, desired: readonly Row[]) {
  const todo = plan(table, desired, await table.list({ signal }));
  expect(await table.apply(todo, { signal })).toEqual([]);
  return todo;
}

const NOTHING = { puts: [], removals: [] };

describe.each(["nftables", "nft", "legacy"] as const)("with %s", (flavour) => {
  test.each([
    { family: 4, network: "10.5.0.0/16", own: "127.0.0.1", other: "192.0.2.9", range: "127.0.0.0/8" },
    { family: 6, network: "fd00:5::/48", own: "::1", other: "2001:db8::9", range: "::/64" },
  ] as const)("IPv$family packets of our vxlan network come in from peers only, and are counted", async (host) => {
    const overlay = parsePrefix(host.network);
    using namespace = new Namespace();
    using firewall = await openFirewall({ namespace: namespace.path, signal });
    using ipset = new IpsetKernel(namespace.path);
    let refused = 0;
    const count = (packets: number) => void (refused = packets);
    const table =
      flavour === "nftables" ? firewall.nftTable(overlay, count) : firewall.xtablesTable(flavour, overlay, count);
    const peers = flavour === "nftables" ? firewall.peers(overlay) : new IpsetTable(ipset, overlay);
    if (table === undefined || peers === undefined) throw new Error(`no ${flavour}`);
    const chain = (...acceptFrom: readonly string[]) =>
      underlayChain({ port: 8472, vni: 7, acceptFrom: acceptFrom.map(parsePrefix) }, host.family);
    const arrive = (...kinds: readonly string[]) =>
      namespace
        .run(PYTHON, "-c", SEND, host.own, ...kinds)
        .trim()
        .split("\n")
        .map(Number);
    const refusedByNow = async () => {
      await table.list({ signal });
      return refused;
    };

    // The chain comes first where peers are not known yet: it must not need somebody else to have made the set.
    await make(table, [chain()]);
    expect(await make(table, [chain()])).toEqual(NOTHING);
    await make(peers, [parseAddress(host.other)]);
    expect(arrive("8472/7", "8472/8", "8473/7")).toEqual([0, 10, 10]);
    expect(await refusedByNow()).toBe(10);
    if (host.family === 6) expect(arrive("8472/7/hidden")).toEqual([0]);
    expect(await refusedByNow()).toBe(host.family === 6 ? 20 : 10);
    await make(peers, [parseAddress(host.other), parseAddress(host.own)]);
    expect(arrive("8472/7")).toEqual([10]);
    await make(peers, [parseAddress(host.other)]);
    expect(arrive("8472/7")).toEqual([0]);
    await make(table, [chain(host.range)]);
    expect(arrive("8472/7")).toEqual([10]);
    expect(await make(table, [chain(host.range)])).toEqual(NOTHING);

    await make(table, []);
    expect(arrive("8472/7")).toEqual([10]);
    expect(await ipset.names({ signal }), "the set goes with the chain").toEqual([]);

    await make(table, [chain()]);
    await make(peers, [parseAddress(host.other)]);
    const leftovers = firewall.leftovers({ others: [], allOthers: false, ours: "all" });
    expect((await make(leftovers, [])).removals.length).toBe(flavour === "nftables" ? 1 : 2);
    expect(arrive("8472/7")).toEqual([10]);
    expect(await leftovers.list({ signal })).toEqual([]);
  });
});
