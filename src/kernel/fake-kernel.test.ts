import { parsePrefix } from "../ip/prefix.ts";
import type { KernelFixture } from "./conformance/kernel-harness.ts";
import { FakeKernel } from "./fake-kernel.ts";
import { describeKernel } from "./kernel-conformance.ts";

function open(): KernelFixture {
  const kernel = new FakeKernel();
  kernel.setLink({ name: "eth0" });
  kernel.setAddress("eth0", parsePrefix("192.0.2.1/24"));
  return {
    kernel,
    others: {
      addLink: (name) => kernel.setLink({ name, kind: "bridge" }),
      deleteLink: (name) => kernel.deleteLink(name),
      setLinkDown: (name) => kernel.setLink({ name, up: false, running: false }),
      setMac: (name, mac) => kernel.setLink({ name, mac }),
      setMtu: (name, mtu) => kernel.setLink({ name, mtu }),
      addAddress: (link, address) => kernel.setAddress(link, address),
      deleteAddress: (link, address) => kernel.deleteAddress(link, address),
      addRoute: (route) => kernel.setRoute(route),
      deleteRoute: (destination) => kernel.deleteRoute(destination),
      addNeighbor: (link, destination, mac) => kernel.setNeighbor({ link, destination, mac }),
      deleteNeighbor: (link, destination) => kernel.deleteNeighbor({ link, destination }),
      deleteFdb: (link, mac) => kernel.deleteFdb({ link, mac }),
    },
    [Symbol.dispose]: () => kernel[Symbol.dispose](),
  };
}

describeKernel("FakeKernel", { open, settle: () => Promise.resolve() });
