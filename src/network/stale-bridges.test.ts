import { describe, expect, test } from "vitest";
import { formatPrefix, parsePrefix } from "../ip/prefix.ts";
import { FakeKernel } from "../kernel/fake-kernel.ts";
import { FakeClock } from "../lib/fake-clock.ts";
import { RecordingLogger } from "../lib/recording-logger.ts";
import { staleBridges, watchBridges } from "./stale-bridges.ts";

const { signal } = new AbortController();
const SUBNET = parsePrefix("10.5.3.0/24");
const NETWORKS = ["10.5.0.0/16", "10.77.0.0/16"].map(parsePrefix);

function host(addresses: Readonly<Record<string, string>>, kind = "bridge"): FakeKernel {
  const kernel = new FakeKernel();
  for (const [name, address] of Object.entries(addresses)) {
    kernel.setLink({ name, kind });
    kernel.setAddress(name, parsePrefix(address));
  }
  return kernel;
}

async function stale(kernel: FakeKernel): Promise<readonly string[]> {
  const [links, addresses] = [await kernel.listLinks({ signal }), await kernel.listAddresses({ signal })];
  return staleBridges(SUBNET, NETWORKS, links, addresses).map(
    ({ name, address }) => `${name} ${formatPrefix(address)}`,
  );
}

describe("staleBridges()", () => {
  test("finds bridges with an address of another subnet, also of a former Network", async () => {
    expect(await stale(host({ cni0: "10.5.9.1/24", docker0: "10.77.3.1/24" }))).toEqual([
      "cni0 10.5.9.1/24",
      "docker0 10.77.3.1/24",
    ]);
  });

  test("finds one whose address is of the subnet, but whose network is larger", async () => {
    expect(await stale(host({ cni0: "10.5.3.1/16" }))).toEqual(["cni0 10.5.3.1/16"]);
  });

  test("has nothing against the present subnet, other networks, and links that are no bridges", async () => {
    expect(await stale(host({ cni0: "10.5.3.1/24", docker0: "172.17.0.1/16", br0: "192.0.2.1/24" }))).toEqual([]);
    expect(await stale(host({ eth1: "10.5.9.1/24" }, "veth"))).toEqual([]);
  });
});

test("watchBridges() names each once, also one that comes later, and again when it comes again", async () => {
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const kernel = host({ cni0: "10.5.9.1/24" });
  const stop = new AbortController();
  const watching = watchBridges({
    kernel,
    subnet: SUBNET,
    networks: NETWORKS,
    clock,
    logger,
    signal: stop.signal,
  }).catch((error: unknown) => error);
  const named = async () => {
    for (let turn = 0; turn < 5; turn++) await clock.advance(1_000);
    const names = logger.lines.map(({ fields }) => fields["bridge"]);
    logger.clear();
    return names;
  };
  expect(await named()).toEqual(["cni0"]);
  kernel.setLink({ name: "docker0", kind: "bridge" });
  kernel.setAddress("docker0", parsePrefix("10.5.8.1/24"));
  expect(await named()).toEqual(["docker0"]);
  kernel.deleteAddress("cni0", parsePrefix("10.5.9.1/24"));
  expect(await named()).toEqual([]);
  kernel.setAddress("cni0", parsePrefix("10.5.9.1/24"));
  expect(await named()).toEqual(["cni0"]);
  const reason = new Error("stopped");
  stop.abort(reason);
  await clock.advance(10_000);
  expect(await watching).toBe(reason);
});
