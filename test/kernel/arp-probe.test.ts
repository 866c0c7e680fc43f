import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { openKernel } from "../../src/kernel/linux-kernel.ts";
import { Namespace, openLinux } from "./linux-harness.ts";

const { signal } = new AbortController();
const MAC = "02:00:00:00:00:99";

/** A second host on the same link. */
function neighbor(of: Namespace): Namespace {
  const other = new Namespace();
  of.ip(`link add far type veth peer name eth1 address ${MAC} netns ${other.name}`, "link set far master eth0 up");
  other.ip("addr flush dev eth0", "link set eth0 down", "link set eth1 up", "addr add 192.0.2.9/24 dev eth1");
  other.untilUp("eth1");
  of.untilUp("far");
  return other;
}

test("findOwner() tells who else has an address on a link, also our own", async () => {
  using fixture = openLinux();
  using other = neighbor(fixture.namespace);
  const owner = (address: string) => fixture.kernel.findOwner("eth0", parseAddress(address), { signal });
  expect(await owner("192.0.2.9")).toBe(MAC);
  expect(await owner("192.0.2.77")).toBeUndefined();
  expect(await owner("192.0.2.1")).toBeUndefined();
  other.ip("addr add 192.0.2.1/24 dev eth1");
  expect(await owner("192.0.2.1")).toBe(MAC);
});

test("findOwner() takes a probe of another host, which wants the address too, for an answer", async () => {
  using fixture = openLinux();
  using other = neighbor(fixture.namespace);
  using kernel = openKernel({ namespace: other.path });
  const address = parseAddress("192.0.2.50");
  const [here, there] = await Promise.all([
    fixture.kernel.findOwner("eth0", address, { signal }),
    kernel.findOwner("eth1", address, { signal }),
  ]);
  // Who has heard the other asks no more.
  expect([here ?? there]).toEqual([expect.stringMatching(/^[0-9a-f:]{17}$/)]);
});

test("findOwner() knows nothing of a link that is not there or has no MAC, and stops when asked", async () => {
  using fixture = openLinux();
  const { kernel } = fixture;
  expect(await kernel.findOwner("eth7", parseAddress("192.0.2.9"), { signal })).toBeUndefined();
  const stop = new AbortController();
  const asked = kernel.findOwner("eth0", parseAddress("192.0.2.9"), { signal: stop.signal });
  stop.abort(new Error("stopped"));
  await expect(asked).rejects.toThrow("stopped");
});

test("findOwner() fails, and nothing else does, when the link goes down while it asks", async () => {
  using fixture = openLinux();
  const asked = fixture.kernel.findOwner("eth0", parseAddress("192.0.2.77"), { signal });
  const failure = asked.catch((error: unknown) => error);
  await delay(100); // it has asked once
  fixture.namespace.ip("link set eth0 down");
  expect(await failure).toMatchObject({ code: "ENETDOWN" });
});
