import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { parseMacAddress } from "../ip/mac-address.ts";
import { parsePrefix } from "../ip/prefix.ts";
import { RecordingLogger } from "../lib/recording-logger.ts";
import { HostMemory } from "./host-memory.ts";
import { type HostState, HostStateFile, NO_STATE } from "./host-state.ts";

const FULL: HostState = {
  network: parsePrefix("10.5.0.0/16"),
  subnet: parsePrefix("10.5.20.0/24"),
  publicIP: parseAddress("192.0.2.1"),
  links: ["flannel.1"],
  networks: [parsePrefix("10.5.0.0/16"), parsePrefix("10.77.0.0/16")],
  claims: [
    {
      cloud: "vpc",
      address: parseAddress("192.0.2.1"),
      routeTables: ["rtb-0a1b2c3d"],
      subnets: [parsePrefix("10.5.20.0/24"), parsePrefix("fd00:5:0:14::/64")],
    },
  ],
  mac: parseMacAddress("66:72:44:0d:7e:01"),
  cursor: { history: "cdf818194e3a8c32", index: 18_446_744_073_709_551_615n },
  spareUntil: 1_770_000_000_000,
};

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "flannel-state-"));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return join(path, "state");
}

function open(stateDir: string, { subnetFile = "/run/flannel/subnet.env" } = {}) {
  const logger = new RecordingLogger();
  return { file: new HostStateFile(stateDir, subnetFile, logger), logger };
}

describe("HostStateFile", () => {
  test.each([
    ["everything", FULL],
    ["nothing", NO_STATE],
    ["a part", { ...NO_STATE, cursor: { history: "", index: 0n } }],
  ])("reads back %s as it was written, after a restart", async (_, state) => {
    const directory = await folder();
    await open(directory).file.write(state);
    const { file, logger } = open(directory);
    expect(await file.read()).toEqual(state);
    expect(logger.lines).toEqual([]);
  });

  test("finds the states of all networks of a directory, and whose they are", async () => {
    const directory = await folder();
    const logger = new RecordingLogger();
    expect(await HostStateFile.all(directory, logger)).toEqual([]);
    for (const name of ["subnet", "netw\u00f6rk"])
      await open(directory, { subnetFile: `/run/x/${name}.env` }).file.write({ ...NO_STATE, links: [name] });
    await writeFile(join(directory, "etcd-api.json"), "{}");
    expect(logger.lines).toEqual([]);
    await writeFile(join(directory, "network-x%2.json"), "{}");
    const found = await HostStateFile.all(directory, logger);
    expect(found.map(({ subnetFile }) => subnetFile).toSorted()).toEqual([
      "/run/x/netw\u00f6rk.env",
      "/run/x/subnet.env",
    ]);
    expect((await Promise.all(found.map((file) => file.read()))).flatMap(({ links }) => links).toSorted()).toEqual([
      "netw\u00f6rk",
      "subnet",
    ]);
    expect(logger.messages("warn")).toEqual(["it cannot be told whose state this is; it is not used"]);
  });

  test("has nothing to tell on a new host, without complaint", async () => {
    const { file, logger } = open(await folder());
    expect(await file.read()).toEqual(NO_STATE);
    expect(logger.lines).toEqual([]);
  });

  test("keeps two daemons' state apart by the file they publish, however its path is written", async () => {
    const directory = await folder();
    await open(directory).file.write(FULL);
    expect(await open(directory, { subnetFile: "/run/flannel/blue.env" }).file.read()).toEqual(NO_STATE);
    expect(await open(directory, { subnetFile: "/run/other/../flannel/subnet.env" }).file.read()).toEqual(FULL);
  });

  test("is nobody else's to read", async () => {
    const directory = await folder();
    await open(directory).file.write(FULL);
    const [name = ""] = await readdir(directory);
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    expect((await stat(join(directory, name))).mode & 0o777).toBe(0o600);
  });

  test.each([
    ["cut off", (text: string) => text.slice(0, 40)],
    ["empty", () => ""],
    ["something else", () => "7"],
    ["with a subnet that is none", (text: string) => text.replace("10.5.20.0/24", "10.5.20.0/99")],
    ["with a MAC that is none", (text: string) => text.replace("66:72:44", "xx:72:44")],
    ["with an endless time", (text: string) => text.replace("1770000000000", "1e999")],
    ["with a place in history that is no number", (text: string) => text.replace("18446744073709551615", "-1")],
  ])("goes on without a file that is %s, and says so", async (_, spoil) => {
    const directory = await folder();
    await open(directory).file.write(FULL);
    const path = join(directory, (await readdir(directory))[0] ?? "");
    await writeFile(path, spoil(await readFile(path, "utf8")));
    const { file, logger } = open(directory);
    expect(await file.read()).toEqual(NO_STATE);
    expect(logger.messages("warn")).toEqual(["state of an earlier run is not usable"]);
    await file.write(FULL);
    expect(await open(directory).file.read()).toEqual(FULL);
  });

  test("goes on where it cannot write, and says so once", async () => {
    const directory = await folder();
    await writeFile(directory, "a file is in the way");
    const { file, logger } = open(directory);
    await file.write(FULL);
    await file.write(NO_STATE);
    expect(logger.messages("error")).toEqual(["cannot remember state for the next start"]);
  });

  test("writes nothing that was read just so", async () => {
    const directory = await folder();
    await open(directory).file.write(FULL);
    const path = join(directory, (await readdir(directory))[0] ?? "");
    const { ino } = await stat(path);
    const { file } = open(directory);
    await file.write(await file.read());
    expect((await stat(path)).ino).toBe(ino);
  });
});

describe("HostMemory", () => {
  test("knows at once what it is told, and the disk has the last of it", async () => {
    const directory = await folder();
    const memory = await HostMemory.open(open(directory).file);
    for (let index = 0n; index < 20n; index++) void memory.remember({ cursor: { history: "h", index } });
    void memory.remember({ links: ["flannel.1"] });
    expect(memory.state.links).toEqual(["flannel.1"]);
    expect(memory.state.cursor?.index).toBe(19n);
    await memory.flush();
    expect(await open(directory).file.read()).toEqual(memory.state);
    expect((await readdir(directory)).length).toBe(1);
  });

  test("begins with what an earlier run remembered", async () => {
    const directory = await folder();
    await open(directory).file.write(FULL);
    expect((await HostMemory.open(open(directory).file)).state).toEqual(FULL);
  });
});
