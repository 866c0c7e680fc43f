import { describe, expect, onTestFinished, test } from "vitest";
import { parsePrefix } from "../ip/prefix.ts";
import { FakeKernel } from "../kernel/fake-kernel.ts";
import { FakeClock } from "../lib/fake-clock.ts";
import { RecordingLogger } from "../lib/recording-logger.ts";
import { type InterfaceTexts, parseInterfaceRules } from "./interface-rules.ts";
import { Underlay } from "./underlay.ts";

const ETH0 = parsePrefix("192.0.2.1/24");

/** A host whose default route leads by eth0, with another one by eth1; `use()` tells what is used. */
async function follow(texts: Partial<InterfaceTexts> = {}) {
  const [kernel, clock, logger, stop] = [
    new FakeKernel(),
    new FakeClock(),
    new RecordingLogger(),
    new AbortController(),
  ];
  for (const [name, address, metric] of [
    ["eth0", "192.0.2.1/24", 100],
    ["eth1", "198.51.100.1/24", 200],
  ] as const) {
    kernel.setLink({ name });
    kernel.setAddress(name, parsePrefix(address));
    kernel.setRoute({ destination: parsePrefix("0.0.0.0/0"), link: name, metric });
  }
  const rules = parseInterfaceRules({ ifaces: [], patterns: [], canReach: "", publicIP: "", publicIPv6: "", ...texts });
  const underlay = await Underlay.open(kernel, rules, { clock, logger, signal: stop.signal });
  const running = underlay.run(stop).catch((error: unknown) => error);
  onTestFinished(async () => {
    stop.abort(new Error("the test is over"));
    await running;
  });
  const passes = async (span: number) => {
    for (let part = 0; part < 20; part++) {
      await clock.advance(span / 20);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await passes(0);
  return { kernel, logger, underlay, passes, use: () => underlay.current.link.name, signal: stop.signal };
}

describe("Underlay", () => {
  test("stays where it is as long as it has its address, whatever better appears", async () => {
    const { kernel, passes, use, logger } = await follow();
    kernel.setRoute({ destination: parsePrefix("0.0.0.0/0"), link: "eth1", metric: 1 });
    kernel.setAddress("eth0", parsePrefix("192.0.2.50/24"));
    await passes(10_000);
    expect(use()).toBe("eth0");
    expect(logger.lines).toEqual([]);
  });

  test("waits for the next address of its link before it moves to another link", async () => {
    const { kernel, passes, use } = await follow();
    kernel.deleteAddress("eth0", ETH0);
    kernel.deleteRoute(parsePrefix("0.0.0.0/0"), 100);
    await passes(1_000);
    expect(use()).toBe("eth0");
    await passes(3_000);
    expect(use()).toBe("eth1");
  });

  test("finds a default route that comes back, which nobody announces", async () => {
    const { kernel, passes, use, logger } = await follow();
    kernel.deleteLink("eth1");
    kernel.deleteAddress("eth0", ETH0);
    kernel.deleteRoute(parsePrefix("0.0.0.0/0"), 100);
    await passes(10_000);
    expect(logger.messages("warn")).toHaveLength(1);
    kernel.setAddress("eth0", parsePrefix("192.0.2.9/24"));
    await passes(2_000);
    kernel.setRoute({ destination: parsePrefix("0.0.0.0/0"), link: "eth0", metric: 100 });
    await passes(2_000);
    expect(use()).toBe("eth0");
    expect(logger.messages("info")).toEqual(["the interface to the other hosts has changed"]);
  });

  test("does not take an address it was to use for a NAT's because it is gone", async () => {
    const { kernel, passes, use, logger } = await follow({ publicIP: "198.51.100.1" });
    expect(use()).toBe("eth1");
    kernel.deleteAddress("eth1", parsePrefix("198.51.100.1/24"));
    await passes(10_000);
    expect(use()).toBe("eth1");
    expect(logger.lines[0]?.fields["reason"]).toContain("198.51.100.1");
  });

  test("wakes whoever waits for a change, and nobody before", async () => {
    const { kernel, underlay, passes, signal } = await follow();
    let isChanged = false;
    void underlay.changed(underlay.current, { signal }).then(() => (isChanged = true));
    await passes(5_000);
    expect(isChanged).toBe(false);
    kernel.setLink({ name: "eth0", mtu: 9000 });
    await passes(2_000);
    expect(isChanged).toBe(true);
    expect(underlay.current.link.mtu).toBe(9000);
  });
});
