import { expect, test } from "vitest";
import { backendType } from "./types.ts";

test.each(["alloc", "aws-vpc", "gce", "host-gw", "udp", "vxlan"])(
  "backendType() knows %s, which needs no options",
  (type) => {
    expect(() => backendType(type).parseOptions({ Type: type })).not.toThrow();
  },
);

test.each(["hostgw", "", "VXLAN", "constructor", "__proto__", "toString"])(
  "backendType() says which there are when asked for %j",
  (type) => {
    expect(() => backendType(type)).toThrow(
      `Backend.Type: backend ${JSON.stringify(type)} is unknown; there are alloc, aws-vpc, gce, host-gw, udp, vxlan`,
    );
  },
);
