import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { version } from "../../src/cli/version.ts";
import { flanneld, outcome, run, start, temporaryDirectory, waitingFlanneld } from "./program.ts";

describe("flanneld", () => {
  test.each([
    [["--version"], 0, version],
    [["--help"], 0, "Usage: flanneld [OPTION]...\n"],
    [["start"], 0, "Usage: flanneld [OPTION]...\n"],
    [["--no-such-flag"], 2, "flag provided but not defined: -no-such-flag\n"],
    [["-v=abc"], 2, 'invalid value "abc" for flag -v: parse error\n'],
    [["--listen=:1", "--remote=h:1"], 1, "flanneld: --listen and --remote are mutually exclusive\n"],
    [["--subnet-lease-renew-margin=1440"], 1, "flanneld: --subnet-lease-renew-margin is 1440"],
  ])("flanneld %j exits %i and says why on standard error only", async (args, code, beginning) => {
    const { end, stdout, stderr } = await run(flanneld, args);
    expect({ end, stdout, beginning: stderr.slice(0, beginning.length) }).toEqual({ end: code, stdout: "", beginning });
  });

  test("flanneld exits 1 for an interface that does not exist, and names it", async () => {
    using directory = temporaryDirectory();
    const { end, stderr } = await run(flanneld, waitingFlanneld(directory.path, "nope0"));
    expect(end).toBe(1);
    expect(stderr).toMatch(/^E\d{4} .* flanneld\] .*nope0/m);
    expect(stderr).not.toMatch(/^ +at /m);
  });

  test("flanneld takes flags from the environment and warns once about one it cannot read", async () => {
    using directory = temporaryDirectory();
    const env = { FLANNELD_SUBNET_LEASE_RENEW_MARGIN: "abc", FLANNELD_IFACE: "nope1", FLANNELD_NO_SUCH: "1" };
    const args = waitingFlanneld(directory.path).filter((argument) => !argument.startsWith("--iface"));
    const { end, stderr } = await run(flanneld, args, { env });
    expect(end).toBe(1);
    expect(stderr.match(/^W.*FLANNELD_SUBNET_LEASE_RENEW_MARGIN.*$/gm)).toHaveLength(1);
    expect(stderr).toContain("nope1");
    expect(stderr).not.toContain("NO_SUCH");
  });

  test("flanneld logs one JSON object a line if asked", async () => {
    using directory = temporaryDirectory();
    const { stderr } = await run(flanneld, [...waitingFlanneld(directory.path, "nope0"), "--log-format=json"]);
    for (const line of stderr.trimEnd().split("\n")) expect(JSON.parse(line)).toHaveProperty("level");
  });

  test("flanneld goes on when nobody reads its log any more", async () => {
    using directory = temporaryDirectory();
    const child = start(flanneld, waitingFlanneld(directory.path));
    if (child.stderr === null) throw new Error("no output");
    await once(child.stderr, "data");
    child.stderr.destroy();
    child.kill("SIGTERM");
    expect(await once(child, "exit")).toEqual([0, null]);
  });

  test("flanneld starts with standard error closed", async () => {
    using directory = temporaryDirectory();
    const child = start("/bin/sh", [
      "-c",
      `exec "$0" "$@" 2>&-`,
      flanneld,
      ...waitingFlanneld(directory.path, "nope0"),
    ]);
    expect(await outcome(child)).toMatchObject({ end: 1, stderr: "" });
  });
});
