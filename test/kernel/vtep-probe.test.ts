import { expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { parseMacAddress } from "../../src/ip/mac-address.ts";
import type { Vtep } from "../../src/kernel/kernel.ts";
import { Namespace, openLinux } from "./linux-harness.ts";

const { signal } = new AbortController();

const VTEP: Vtep = {
  publicIP: parseAddress("192.0.2.9"),
  port: 0,
  vni: 1,
  mac: parseMacAddress("66:72:44:0d:7e:01"),
  address: parseAddress("10.5.40.0"),
  sender: parseAddress("192.0.2.1"),
};

/** A host on the same link with a VTEP as every flannel makes it, which knows no peer. */
function host(of: Namespace): Namespace {
  const other = new Namespace();
  of.ip(`link add far type veth peer name eth1 netns ${other.name}`, "link set far master eth0 up");
  other.ip(
    "addr flush dev eth0",
    "link set eth0 down",
    "link set eth1 up",
    "addr add 192.0.2.9/24 dev eth1",
    `link add flannel.1 address ${VTEP.mac} type vxlan id 1 local 192.0.2.9 dev eth1 dstport 8472 nolearning`,
    "addr add 10.5.40.0/32 dev flannel.1",
    "link set flannel.1 up",
    "route add 10.5.0.0/16 dev flannel.1 scope global",
  );
  other.untilUp("eth1");
  of.untilUp("far");
  return other;
}

test("vtepAnswers() reaches the VTEP of a host that has never heard of us, and tells it from others", async () => {
  using fixture = openLinux();
  using other = host(fixture.namespace);
  const answers = (changes: Partial<Vtep> = {}) => fixture.kernel.vtepAnswers({ ...VTEP, ...changes }, { signal });
  expect(await answers()).toBe(true);
  expect(
    await Promise.all([
      answers({ vni: 2 }),
      answers({ port: 4789 }),
      answers({ mac: parseMacAddress("66:72:44:0d:7e:02") }),
      answers({ address: parseAddress("10.5.41.0") }),
      answers({ publicIP: parseAddress("192.0.2.77") }),
      answers({ publicIP: parseAddress("203.0.113.1") }), // no way leads there
    ]),
  ).toEqual([false, false, false, false, false, false]);
  other.ip("link set flannel.1 down");
  expect(await answers()).toBe(false);
});

test("vtepAnswers() stops when asked", async () => {
  using fixture = openLinux();
  const stop = new AbortController();
  const asked = fixture.kernel.vtepAnswers(VTEP, { signal: stop.signal });
  stop.abort(new Error("stopped"));
  await expect(asked).rejects.toThrow("stopped");
});
