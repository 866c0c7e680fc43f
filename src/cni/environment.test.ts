import { describe, expect, test } from "vitest";
import { checkVariables, parseAttachment, parseCommand, pluginDirectories } from "./environment.ts";

const ALL = { CNI_CONTAINERID: "c1", CNI_NETNS: "/run/netns/c1", CNI_IFNAME: "eth0", CNI_PATH: "/opt/cni/bin" };

describe("checkVariables()", () => {
  test("checkVariables() names all that is missing at once, and counts an empty one as missing", () => {
    expect(() => checkVariables("ADD", { ...ALL, CNI_NETNS: "", CNI_IFNAME: undefined })).toThrow(
      "ADD needs CNI_NETNS, CNI_IFNAME, which is not set",
    );
  });

  test("checkVariables() asks of each command only what it needs", () => {
    expect(() => checkVariables("DEL", { ...ALL, CNI_NETNS: "" })).not.toThrow();
    expect(() => checkVariables("GC", { CNI_PATH: "/opt/cni/bin" })).not.toThrow();
    expect(() => checkVariables("STATUS", {})).not.toThrow();
    expect(() => checkVariables("VERSION", { CNI_CONTAINERID: "../x" })).not.toThrow();
  });
});

test("parseCommand() refuses a command that CNI has not, and none at all", () => {
  expect(() => parseCommand({ CNI_COMMAND: "add" })).toThrow(
    'CNI_COMMAND is "add", not one of ADD, DEL, CHECK, STATUS, VERSION, GC',
  );
  expect(() => parseCommand({})).toThrow("CNI_COMMAND is not set");
});

describe("parseAttachment()", () => {
  test.each(["", "../../etc/passwd", ".hidden", "a@b", "a/b", "a b", "a\n", 5, undefined])(
    "parseAttachment() refuses %j as a container's ID",
    (containerID) => {
      expect(() => parseAttachment({ containerID, ifname: "eth0" })).toThrow(/the container's ID is /);
    },
  );

  test.each(["", ".", "..", "eth/0", "eth:0", "eth 0", "sixteen-letters-", "eth0\n", undefined])(
    "parseAttachment() refuses %j as an interface's name",
    (ifname) => {
      expect(() => parseAttachment({ containerID: "c1", ifname })).toThrow(/the interface's name is /);
    },
  );

  test("parseAttachment() takes what runtimes use", () => {
    const containerID = "4d3a".repeat(16);
    expect(parseAttachment({ containerID, ifname: "eth0" })).toEqual({ containerID, ifname: "eth0" });
  });
});

test("pluginDirectories() passes over empty parts", () => {
  expect(pluginDirectories({ CNI_PATH: ":/opt/cni/bin::/usr/lib/cni" })).toEqual(["/opt/cni/bin", "/usr/lib/cni"]);
  expect(pluginDirectories({})).toEqual([]);
});
