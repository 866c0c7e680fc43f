import { expect, test } from "vitest";
import { formatPrefix } from "../../ip/prefix.ts";
import { InvalidConfigError } from "../../lib/errors.ts";
import { parseUdpOptions } from "./options.ts";

const acceptedFrom = (value: unknown) => parseUdpOptions({ AcceptFrom: value }).acceptFrom.map(formatPrefix);

test("parseUdpOptions() has 0.7.0's port, admits peers alone and offloads", () => {
  expect(parseUdpOptions({ Type: "udp" })).toEqual({ port: 8285, acceptFrom: [], offload: true });
});

test("parseUdpOptions() takes keys in any case and null as absent", () => {
  expect(parseUdpOptions({ PORT: 1, acceptfrom: null, OFFLOAD: false })).toEqual({
    port: 1,
    acceptFrom: [],
    offload: false,
  });
});

test("parseUdpOptions() reads who is let in: peers, any, or networks and addresses", () => {
  expect(acceptedFrom("peers")).toEqual([]);
  expect(acceptedFrom("any")).toEqual(["0.0.0.0/0"]);
  expect(acceptedFrom([])).toEqual([]);
  expect(acceptedFrom(["192.0.2.77/24", "203.0.113.5"])).toEqual(["192.0.2.0/24", "203.0.113.5/32"]);
});

test.each([
  [{ Port: 0 }, "Backend.Port: must be a whole number from 1 to 65535, not 0"],
  [{ Port: 65_536 }, "Backend.Port: must be a whole number from 1 to 65535, not 65536"],
  [{ Port: 82.85 }, "Backend.Port: must be a whole number from 1 to 65535, not 82.85"],
  [{ Port: "8285" }, 'Backend.Port: must be a number, not "8285"'],
  [{ Offload: 0 }, "Backend.Offload: must be a boolean, not 0"],
  [
    { AcceptFrom: "all" },
    'Backend.AcceptFrom: must be "peers", "any" or a list of networks such as "192.0.2.0/24", not "all"',
  ],
  [{ AcceptFrom: { any: true } }, 'not {"any":true}'],
  [{ AcceptFrom: ["192.0.2.0/24", 7] }, 'Backend.AcceptFrom.1: must be a network such as "192.0.2.0/24", not 7'],
  [{ AcceptFrom: ["192.0.2.0/33"] }, 'Backend.AcceptFrom.0: prefix length is not 0 to 32: "192.0.2.0/33"'],
  [{ AcceptFrom: ["192.0.2"] }, 'Backend.AcceptFrom.0: not a network in CIDR form, as 10.5.0.0/16: "192.0.2"'],
  [{ AcceptFrom: ["fc00::/7"] }, "Backend.AcceptFrom.0: must be an IPv4 network"],
  [{ AcceptFrom: ["fc00::1"] }, "Backend.AcceptFrom.0: must be an IPv4 network"],
  ["udp", 'Backend: must be a JSON object, not "udp"'],
])("parseUdpOptions() of %j names field and value", (json, message) => {
  expect(() => parseUdpOptions(json)).toThrow(message);
  expect(() => parseUdpOptions(json)).toThrow(InvalidConfigError);
});
