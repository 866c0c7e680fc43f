import { expect, test } from "vitest";
import { parsePrefix } from "../../ip/prefix.ts";
import { findObstacle, type Probe } from "./probe.ts";
import { xtablesListing } from "./xtables-listing.ts";

const FROM_PEER: Probe = {
  hook: "input",
  protocol: "udp",
  port: 8472,
  source: parsePrefix("192.168.77.2/32"),
  destination: parsePrefix("192.168.77.1/32"),
  from: "eth0",
  to: undefined,
};

/** The line that stops the packet, `policy`, or undefined. */
function stops(lines: readonly string[], probe = FROM_PEER): string | undefined {
  const found = findObstacle(xtablesListing(lines, probe.source.address.family, "filter"), "INPUT", probe);
  return found === undefined ? undefined : found.handle === undefined ? "policy" : lines[found.handle];
}

const ACCEPTING = "-P INPUT ACCEPT";
const DROPPING = "-P INPUT DROP";

test.each([
  [[ACCEPTING], undefined],
  [[DROPPING], "policy"],
  [[DROPPING, "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-A INPUT -i lo -j ACCEPT"], "policy"],
  [[DROPPING, "-A INPUT -p udp -m udp --dport 8472 -j ACCEPT"], undefined],
  [[DROPPING, "-A INPUT -s 192.168.77.0/24 -j ACCEPT"], undefined],
  [[DROPPING, "-A INPUT ! -s 192.168.77.0/24 -j ACCEPT"], "policy"],
  [[DROPPING, "-A INPUT -i eth+ -p 17 -j ACCEPT"], undefined],
  [[DROPPING, "-A INPUT -p udp -m multiport --dports 53,8000:9000 -j ACCEPT"], undefined],
  [[DROPPING, "-A INPUT -p udp -m multiport --dports 53,67 -j ACCEPT"], "policy"],
  [[DROPPING, "-A INPUT -p tcp -m tcp --dport 8472 -j ACCEPT"], "policy"],
  [[DROPPING, "-A INPUT -p udp -m udp --sport 53 -j ACCEPT"], undefined],
  [[DROPPING, "-A INPUT -m set --match-set hosts src -j ACCEPT"], undefined],
  [[DROPPING, "-A INPUT -j NFQUEUE --queue-num 1"], undefined],
  [[DROPPING, '-A INPUT -m comment --comment "a \\" -j ACCEPT" -j LOG --log-prefix "-j ACCEPT"'], "policy"],
  [[ACCEPTING, "-A INPUT -p udp -m udp --dport 8472 -j DROP"], "-A INPUT -p udp -m udp --dport 8472 -j DROP"],
  [[ACCEPTING, "-A INPUT -m limit --limit 5/min -j DROP"], undefined],
  [[ACCEPTING, "-A INPUT -s 192.168.77.9/32 -j DROP"], undefined],
  [
    [
      ACCEPTING,
      "-N zone",
      "-A INPUT -j zone",
      "-A zone -p tcp -j RETURN",
      "-A zone -j REJECT --reject-with icmp-port-unreachable",
    ],
    "-A zone -j REJECT --reject-with icmp-port-unreachable",
  ],
  [[ACCEPTING, "-N zone", "-A INPUT -g zone", "-A INPUT -j DROP"], undefined],
] as const)("a packet to our port in %j is stopped by %s", (lines, by) => {
  expect(stops(lines)).toBe(by);
});

test("a packet of IPv6 is followed through rules of ip6tables", () => {
  const probe = { ...FROM_PEER, source: parsePrefix("2001:db8::2/128"), destination: parsePrefix("2001:db8::1/128") };
  expect(stops([DROPPING, "-A INPUT -s 2001:db8::/64 -p udp -m udp --dport 8472 -j ACCEPT"], probe)).toBeUndefined();
  expect(stops([DROPPING, "-A INPUT -s 2001:db8:1::/64 -j ACCEPT"], probe)).toBe("policy");
});
