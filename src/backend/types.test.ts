import { expect, test } from "vitest";
import { backendType } from "./types.ts";

test.each(["alloc", "host-gw", "udp", "vxlan"])("backendType() knows %s, which needs no options", (type) => {
  expect(() => backendType(type).parseOptions({ Type: type })).not.toThrow();
});

test.each(["hostgw", "", "VXLAN", "constructor", "__proto__", "toString"])(
  "backendType() says which there are when asked for %j",
  (type) => {
    expect(() => backendType(type)).toThrow(
      `Backend.Type: backend ${JSON.stringify(type)} is unknown; there are alloc, host-gw, udp, vxlan`,
    );
  },
);

test.each(["aws-vpc", "gce"])("backendType() says that %s is still to come", (type) => {
  expect(() => backendType(type)).toThrow(`Backend.Type: backend "${type}" is not available yet`);
});
