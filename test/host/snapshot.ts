import type { Place } from "../../src/lab/place.ts";
import { waitUntil } from "../../src/lab/wait.ts";

const { signal } = new AbortController();

/** All that flannel could have changed in a host's network stack, as the host's own tools show it. */
export async function snapshot(host: Place): Promise<string> {
  await waitUntil(async () => !(await host.run(["ip", "addr"])).includes("tentative"), {
    signal,
    within: 20_000,
    what: "the kernel has made sure of its IPv6 addresses",
  });
  const shown = await Promise.all(
    [
      ["ip", "-br", "link"],
      ["ip", "-o", "addr"],
      ["ip", "route", "show", "table", "all"],
      ["ip", "-6", "route", "show", "table", "all"],
      ["ip", "rule"],
      ["ip", "nexthop"],
      ["ip", "neigh", "show", "nud", "permanent"],
      ["bridge", "fdb"],
      ["nft", "list", "ruleset"],
      ["iptables-nft-save"],
      ["iptables-legacy-save"],
      ["ip6tables-legacy-save"],
      [
        "sh",
        "-c",
        "sysctl -a 2>/dev/null | grep -v -e random -e _time -e fs.dentry -e gc_ -e '^net.netfilter.nf_conntrack_count'",
      ],
    ].map(async (argv) => `# ${argv.join(" ")}\n${(await host.exec(argv)).stdout}`),
  );
  return shown
    .join("")
    .split("\n")
    .filter((line) => !/^# (Generated|Completed)|expires|\bDELAY\b|^fs\.|^kernel\.|^vm\./.test(line))
    .map((line) => line.replace(/ \[\d+:\d+\]$/, "").trimEnd()) // iptables' counters
    .join("\n");
}
