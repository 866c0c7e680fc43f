import { expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { parseMacAddress } from "../ip/mac-address.ts";
import { parsePrefix } from "../ip/prefix.ts";
import { FakeKernel } from "../kernel/fake-kernel.ts";
import { ROUTE_PROTOCOL } from "../kernel/kernel.ts";
import { RecordingLogger } from "../lib/recording-logger.ts";
import { retire } from "./retire.ts";

const { signal } = new AbortController();

/** A host with a vxlan device and a route of ours, and the same of others. */
function host() {
  const kernel = new FakeKernel();
  const logger = new RecordingLogger();
  const gateway = parseAddress("192.0.2.7");
  kernel.setLink({ name: "eth0" });
  for (const [index, name] of ["flannel.1", "flannel.2"].entries())
    kernel.setLink({
      name,
      kind: "vxlan",
      mac: parseMacAddress(`66:72:44:0d:7e:0${index}`),
      vxlan: { vni: index, local: parseAddress("192.0.2.1"), lower: "eth0", port: 8472, gbp: false, learning: false },
    });
  for (const [destination, protocol] of [
    ["10.77.1.0/24", ROUTE_PROTOCOL],
    ["10.77.2.0/24", 3],
    ["10.78.1.0/24", ROUTE_PROTOCOL],
  ] as const)
    kernel.setRoute({ destination: parsePrefix(destination), link: "eth0", gateway, protocol });
  const retires = (links: readonly string[], ...networks: readonly string[]) =>
    retire(kernel, { links, networks: networks.map(parsePrefix) }, { logger, signal });
  return { kernel, logger, retires };
}

test("retire() removes the devices and our routes in the networks, and nothing of others", async () => {
  const { kernel, retires, logger } = host();
  expect(await retires(["flannel.1", "gone.7"], "10.77.0.0/16")).toBe(true);
  expect((await kernel.listLinks({ signal })).map(({ name }) => name)).toEqual(["eth0", "flannel.2"]);
  expect(kernel.log.filter((line) => line.startsWith("remove route"))).toEqual([
    "remove route 10.77.1.0/24 via 192.0.2.7 dev eth0",
  ]);
  expect(logger.messages("info")).toEqual(Array(2).fill("removed what an earlier flannel or config left"));
});

test("retire() never takes a device that is no overlay's for one of ours", async () => {
  const { kernel, retires } = host();
  expect(await retires(["eth0"])).toBe(true);
  expect((await kernel.listLinks({ signal })).map(({ name }) => name)).toContain("eth0");
});

test("retire() does nothing and says nothing where there is nothing", async () => {
  const { kernel, retires, logger } = host();
  expect(await retires([])).toBe(true);
  expect([kernel.log, logger.lines]).toEqual([[], []]);
});

test("retire() says what it could not remove, and that it is not done", async () => {
  const { kernel, retires, logger } = host();
  kernel.refuse = (request) => (request.startsWith("remove link") ? "busy" : undefined);
  expect(await retires(["flannel.1"], "10.77.0.0/16")).toBe(false);
  expect(logger.lines.filter(({ level }) => level === "warn").map(({ message }) => message)).toEqual([
    "cannot remove what an earlier flannel or config left",
  ]);
  kernel.refuse = () => undefined;
  expect(await retires(["flannel.1"], "10.77.0.0/16")).toBe(true);
});

test("retire() rejects with the reason of an abort", async () => {
  const { kernel, logger } = host();
  const reason = new Error("enough");
  const aborted = { logger, signal: AbortSignal.abort(reason) };
  await expect(retire(kernel, { links: ["flannel.1"], networks: [] }, aborted)).rejects.toBe(reason);
  expect(logger.lines).toEqual([]);
});
