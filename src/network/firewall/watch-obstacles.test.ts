import { expect, test } from "vitest";
import { type Address, parseAddress } from "../../ip/address.ts";
import { formatPrefix, parsePrefix } from "../../ip/prefix.ts";
import { FakeKernel } from "../../kernel/fake-kernel.ts";
import type { Firewall } from "../../kernel/firewall/firewall.ts";
import type { BlockingRule } from "../../kernel/firewall/obstacles.ts";
import type { Probe } from "../../kernel/firewall/probe.ts";
import { FakeClock } from "../../lib/fake-clock.ts";
import { RecordingLogger } from "../../lib/recording-logger.ts";
import { watchObstacles } from "./watch-obstacles.ts";

/** A host whose bridge is cni0, on which packets to this UDP port are not let in. @param cost of a question, in processor time; others write rules all the time */
function watch(blocked: { port: number | undefined }, peers: readonly Address[], cost = 0) {
  const stop = new AbortController();
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const asked: string[] = [];
  const kernel = new FakeKernel();
  kernel.setLink({ name: "cni0", kind: "bridge" });
  kernel.setAddress("cni0", parsePrefix("10.5.3.1/24"));
  let spent = 0;
  let tell = () => {};
  const rule: BlockingRule = { table: "inet site", chain: "in", rule: "drop" };
  const firewall: Pick<Firewall, "watchOthers" | "blockingRule"> = {
    watchOthers(onChange) {
      tell = onChange;
      return { [Symbol.dispose]() {} };
    },
    async blockingRule(probes) {
      spent += cost;
      if (cost > 0) tell();
      asked.push(...probes.map(words));
      return probes.some(({ port }) => port !== undefined && port === blocked.port) ? rule : undefined;
    },
  };
  const ended = watchObstacles({
    firewall: firewall as Firewall,
    kernel,
    network: parsePrefix("10.5.0.0/16"),
    subnet: parsePrefix("10.5.3.0/24"),
    link: "flannel.1",
    inlet: { port: 8285, address: parseAddress("192.0.2.1"), link: "eth0", peers: () => peers },
    clock,
    processorTime: () => spent,
    logger,
    signal: stop.signal,
  }).catch(() => {});
  return {
    asked,
    logger,
    change: () => tell(),
    pass: (seconds: number) => clock.advance(seconds * 1_000),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
    },
  };
}

function words({ hook, protocol, port, source, destination, from, to }: Probe): string {
  return `${hook} ${protocol} ${port ?? "any"}: ${formatPrefix(source)} by ${from} to ${formatPrefix(destination)} by ${to}`;
}

test("watchObstacles() asks for packets of pods in both directions, and for those of each peer to our port", async () => {
  await using watched = watch({ port: undefined }, ["192.0.2.2", "192.0.2.3", "2001:db8::4"].map(parseAddress));
  await watched.pass(0);
  expect(watched.asked).toEqual([
    "forward tcp any: 10.5.3.0/24 by cni0 to 10.5.0.0/16 by flannel.1",
    "forward tcp any: 10.5.0.0/16 by flannel.1 to 10.5.3.0/24 by cni0",
    "input udp 8285: 192.0.2.2/32 by eth0 to 192.0.2.1/32 by undefined",
    "input udp 8285: 192.0.2.3/32 by eth0 to 192.0.2.1/32 by undefined",
  ]);
});

test("watchObstacles() names what stops other hosts' packets once peers are there, once, and says when it is gone", async () => {
  const peers: Address[] = [];
  const blocked: { port: number | undefined } = { port: 8285 };
  await using watched = watch(blocked, peers);
  await watched.pass(10);
  expect(watched.logger.messages("warn")).toEqual([]);
  peers.push(parseAddress("192.0.2.2"));
  await watched.pass(100);
  expect(watched.logger.messages("warn")).toEqual([
    "somebody's rule stops packets of other hosts to this one: the overlay needs this UDP port",
  ]);
  blocked.port = undefined;
  await watched.pass(100);
  expect(watched.logger.messages("info")).toEqual(["nobody's rule stops packets of other hosts to this one any more"]);
});

test("watchObstacles() says nothing of what stands for a moment, as while firewalld reloads, and of what is away for a moment", async () => {
  const blocked: { port: number | undefined } = { port: undefined };
  await using watched = watch(blocked, [parseAddress("192.0.2.2")]);
  await watched.pass(1);
  blocked.port = 8285;
  watched.change();
  await watched.pass(4);
  expect(watched.asked.filter((words) => words.startsWith("input")).length).toBeGreaterThan(1);
  blocked.port = undefined;
  await watched.pass(100);
  expect(watched.logger.lines).toEqual([]);
  blocked.port = 8285;
  await watched.pass(100);
  blocked.port = undefined;
  watched.change();
  await watched.pass(4);
  blocked.port = 8285;
  await watched.pass(100);
  expect(watched.logger.lines).toMatchObject([{ level: "warn" }]);
});

test.each([
  { cost: 10, looks: 50 },
  { cost: 500, looks: 5 },
])(
  "watchObstacles() looks $looks times in 100 s where two questions take $cost ms of a processor each",
  async ({ cost, looks }) => {
    await using watched = watch({ port: undefined }, [], cost);
    await watched.pass(100);
    expect(watched.asked.length / 2).toBeGreaterThanOrEqual(looks - 1); // packets of pods, in both directions
    expect(watched.asked.length / 2).toBeLessThanOrEqual(looks + 1);
  },
);
