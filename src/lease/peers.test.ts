import { describe, expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { formatPrefix, parsePrefix } from "../ip/prefix.ts";
import type { Lease } from "./lease.ts";
import { parseNetworkConfig } from "./network-config.ts";
import { peerSelector } from "./peers.ts";

const CONFIG = parseNetworkConfig('{"Network":"10.5.0.0/16","SubnetMin":"10.5.0.0","Backend":{"Type":"alloc"}}');

function lease(subnet: string, publicIP: string): Lease {
  return {
    subnet: parsePrefix(subnet),
    attributes: { publicIP: parseAddress(publicIP) },
    isReservation: false,
    revision: 1n,
  };
}

const own = lease("10.5.1.0/24", "192.0.2.1");
const peer = lease("10.5.2.0/24", "192.0.2.2");

/** The peers, and why others are none. */
function select(...leases: readonly Lease[]) {
  const { peers, rejected } = peerSelector(own, CONFIG)(leases);
  return {
    peers: peers.map(({ subnet }) => formatPrefix(subnet)),
    rejected: rejected.map(({ lease, reason }) => `${formatPrefix(lease.subnet)}: ${reason}`),
  };
}

describe("peerSelector()", () => {
  test("leaves our own lease out", () => {
    expect(select(own, peer)).toEqual({ peers: ["10.5.2.0/24"], rejected: [] });
  });

  test("leaves out other leases of our public IP, as of a subnet we had before, and our subnet in another's name", () => {
    expect(select(lease("10.5.9.0/24", "192.0.2.1"), lease("10.5.1.0/24", "192.0.2.9"))).toEqual({
      peers: [],
      rejected: [],
    });
  });

  test("takes hosts inside the Network where SubnetMin and SubnetMax keep the subnets off them", () => {
    const config = parseNetworkConfig('{"Network":"10.0.0.0/8","SubnetMin":"10.10.0.0","SubnetMax":"10.99.0.0"}');
    const us = lease("10.10.1.0/24", "10.240.0.1");
    const [there, among] = [lease("10.10.2.0/24", "10.240.0.2"), lease("10.10.3.0/24", "10.99.0.3")];
    const upon = lease("10.240.0.0/24", "10.240.1.4");
    const { peers, rejected } = peerSelector(us, config)([us, there, among, upon]);
    expect(peers).toEqual([there]);
    expect(rejected.map(({ reason }) => reason)).toEqual([
      "its public IP 10.99.0.3 lies in the Network 10.0.0.0/8",
      "its subnet holds a host's own address, 10.240.0.1",
    ]);
  });

  test.each([
    ["10.6.2.0/24", "192.0.2.2", "its subnet is not in the Network 10.5.0.0/16"],
    ["192.0.2.0/24", "192.0.2.2", "its subnet is not in the Network 10.5.0.0/16"],
    ["10.0.0.0/8", "192.0.2.2", "its subnet is not in the Network 10.5.0.0/16"],
    ["10.5.0.0/16", "192.0.2.2", "its subnet overlaps our own 10.5.1.0/24"],
    ["10.5.1.128/25", "192.0.2.2", "its subnet overlaps our own 10.5.1.0/24"],
    ["10.5.0.0/23", "192.0.2.2", "its subnet overlaps our own 10.5.1.0/24"],
    ["10.5.2.0/24", "127.0.0.1", "its public IP 127.0.0.1 is no host's address"],
    ["10.5.2.0/24", "0.0.0.0", "its public IP 0.0.0.0 is no host's address"],
    ["10.5.2.0/24", "224.0.0.1", "its public IP 224.0.0.1 is no host's address"],
    ["10.5.2.0/24", "255.255.255.255", "its public IP 255.255.255.255 is no host's address"],
    ["10.5.2.0/24", "10.5.2.1", "its public IP 10.5.2.1 lies in the Network 10.5.0.0/16"],
    ["10.5.2.0/24", "10.5.1.7", "its public IP 10.5.1.7 lies in the Network 10.5.0.0/16"],
  ])("rejects %s of %s", (subnet, publicIP, reason) => {
    expect(select(lease(subnet, publicIP), peer)).toEqual({
      peers: ["10.5.2.0/24"],
      rejected: [`${subnet}: ${reason}`],
    });
  });

  test("takes subnets of another length, as an administrator may reserve", () => {
    expect(select(lease("10.5.4.0/22", "192.0.2.4"), lease("10.5.8.1/32", "192.0.2.8")).peers).toEqual([
      "10.5.4.0/22",
      "10.5.8.1/32",
    ]);
  });

  test("judges a lease anew when it is another object", () => {
    const selectPeers = peerSelector(own, CONFIG);
    expect(selectPeers([peer]).peers).toEqual([peer]);
    expect(selectPeers([{ ...peer, attributes: { publicIP: parseAddress("127.0.0.1") } }]).peers).toEqual([]);
    expect(selectPeers([peer]).peers[0]).toBe(peer);
  });
});
