import { expect, test } from "vitest";
import { pingAll, reasonOf } from "./ping.ts";

const { signal } = new AbortController();

/** A pod that reaches every address but these, and remembers how it was asked. */
function pod(name: string, unreachable: readonly string[] = []) {
  const asked: string[][] = [];
  return {
    title: name,
    address: name,
    asked,
    namespace: {
      async exec(argv: readonly string[]) {
        asked.push([...argv]);
        const stdout = unreachable.includes(argv.at(-1) ?? "")
          ? ""
          : "64 bytes from x: icmp_seq=1 ttl=62 time=0.5 ms\n";
        return { stdout, stderr: "", code: stdout === "" ? 1 : 0 };
      },
    },
  };
}

test("pingAll() asks every pod for every other, in order", async () => {
  const results = await pingAll([pod("a"), pod("b", ["a"]), pod("c")], { signal });
  expect(results.map(({ from, to, time }) => [from, to, time])).toEqual([
    ["a", "b", 0.5],
    ["a", "c", 0.5],
    ["b", "a", undefined],
    ["b", "c", 0.5],
    ["c", "a", 0.5],
    ["c", "b", 0.5],
  ]);
});

test("pingAll() with a size sends one whole packet of that size", async () => {
  const [a, b] = [pod("a"), pod("b")];
  await pingAll([a, b], { signal, size: 1450 });
  expect(a.asked[0]?.join(" ")).toContain("-M do -s 1422");
});

test("pingAll() asks by IPv6 too between those that have both, and makes its whole packets as large", async () => {
  const both = [
    { ...pod("a"), ipv6: "fd00::a" },
    { ...pod("b"), ipv6: "fd00::b" },
  ];
  const results = await pingAll([...both, pod("c")], { signal, size: 1430 });
  expect(results.slice(6).map(({ from, to, address }) => [from, to, address])).toEqual([
    ["a", "b", "fd00::b"],
    ["b", "a", "fd00::a"],
  ]);
  expect(both[0]?.asked.at(-1)?.join(" ")).toContain("-s 1382");
});

test.each([
  ["From 10.5.1.2 icmp_seq=1 Destination Host Unreachable\n", "Destination Host Unreachable, says 10.5.1.2"],
  ["ping: local error: message too long, mtu=1450\n", "local error: message too long, mtu=1450"],
  ["ping: connect: Network is unreachable\n", "connect: Network is unreachable"],
  ["1 packets transmitted, 0 received, 100% packet loss, time 0ms\n", "no answer"],
])("reasonOf(%j) is %j", (output, reason) => {
  expect(reasonOf(output)).toBe(reason);
});
