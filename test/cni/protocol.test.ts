import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { waitUntil } from "../../src/lab/wait.ts";
import { temporaryDirectory } from "../cli/program.ts";
import { type CniCall, callPlugin, FakeDelegate, plugin, pluginEnvironment } from "./plugin.ts";

const VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const SUBNET_ENV = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n";

let directory: ReturnType<typeof temporaryDirectory>;
let delegate: FakeDelegate;
let subnetFile: string;
let dataDir: string;

beforeEach(() => {
  directory = temporaryDirectory();
  delegate = new FakeDelegate(join(directory.path, "plugins"));
  delegate.behave({ answer: "{}" });
  subnetFile = join(directory.path, "subnet.env");
  dataDir = join(directory.path, "state/data");
  writeFileSync(subnetFile, SUBNET_ENV);
});

afterEach(() => directory[Symbol.dispose]());

function configOf(fields: object = {}) {
  return { cniVersion: "1.0.0", name: "cbr0", type: "flannel", subnetFile, dataDir, ...fields };
}

/** The files of containers; locks stay. */
function records(): readonly string[] {
  return readdirSync(dataDir).filter((name) => !name.startsWith(".lock-"));
}

/** With everything as it should be, but for what is given. */
function call(command: string, fields: Partial<CniCall> = {}) {
  const path = `/nonexistent:${delegate.directory}`;
  return callPlugin(plugin, { command, config: configOf(), netns: "/run/netns/c1", path, ...fields });
}

describe("VERSION", () => {
  test("VERSION names every version of CNI, in the one that it is asked in, and asks for nothing else", async () => {
    const { code, json } = await callPlugin(plugin, { command: "VERSION", config: { cniVersion: "0.4.0" } });
    expect({ code, json }).toEqual({ code: 0, json: { cniVersion: "0.4.0", supportedVersions: VERSIONS } });
    expect(await callPlugin(plugin, { command: "VERSION" })).toMatchObject({ code: 0, json: { cniVersion: "1.1.0" } });
  });
});

describe("errors", () => {
  test.each<[why: string, code: number, message: string, () => Promise<unknown>]>([
    ["no command", 4, "CNI_COMMAND is not set", () => call("")],
    ["a command that is none", 4, 'CNI_COMMAND is "UPDATE"', () => call("UPDATE")],
    ["no namespace", 4, "ADD needs CNI_NETNS", () => call("ADD", { netns: "" })],
    ["an ID that is a path", 4, "the container's ID is", () => call("ADD", { containerID: "../../../root/x" })],
    ["no JSON", 6, "is not JSON", () => call("ADD", { config: "{" })],
    ["no input", 6, "is not JSON", () => call("ADD", { config: "" })],
    ["JSON that is no object", 6, "is not a JSON object: [1]", () => call("DEL", { config: "[1]" })],
    ["a version to come", 1, 'cniVersion is "3.0.0"', () => call("ADD", { config: configOf({ cniVersion: "3.0.0" }) })],
    ["CHECK in 0.3.1", 1, "has no CHECK", () => call("CHECK", { config: configOf({ cniVersion: "0.3.1" }) })],
    ["STATUS in 1.0.0", 1, "has no STATUS", () => call("STATUS")],
    ["GC in 1.0.0", 1, "has no GC", () => call("GC")],
    [
      "a delegate that has a name",
      2,
      'delegate.name is "x"',
      () => call("ADD", { config: configOf({ delegate: { name: "x" } }) }),
    ],
    [
      "itself as delegate",
      7,
      "call itself",
      () => call("ADD", { config: configOf({ delegate: { type: "flannel" } }) }),
    ],
    [
      "no such delegate",
      100,
      '"ptp", which does the work for flannel, is not in /nonexistent, ',
      () => call("ADD", { config: configOf({ delegate: { type: "ptp" } }) }),
    ],
    [
      "no subnet.env",
      11,
      "subnet.env is not there",
      () => call("ADD", { config: configOf({ subnetFile: "/nonexistent/subnet.env" }) }),
    ],
    ["a directory as subnet.env", 5, "EISDIR", () => call("ADD", { config: configOf({ subnetFile: directory.path }) })],
    ["a file as data directory", 5, "EEXIST", () => call("ADD", { config: configOf({ dataDir: subnetFile }) })],
    ["CHECK without a result", 7, "prevResult is missing", () => call("CHECK")],
    [
      "CHECK of a stranger",
      3,
      "container c1 was not added to network cbr0",
      () => call("CHECK", { config: configOf({ prevResult: {} }) }),
    ],
    [
      "GC without a list",
      7,
      "valid-attachments is missing",
      () => call("GC", { config: configOf({ cniVersion: "1.1.0" }) }),
    ],
  ])("the runtime is told of %s as CNI wants it, with code %i", async (_, code, message, run) => {
    expect(await run()).toMatchObject({
      code: 1,
      stderr: "",
      json: {
        cniVersion: expect.stringMatching(/^(0\.3\.1|1\.[01]\.0)$/),
        code,
        msg: expect.stringContaining(message),
      },
    });
    expect(delegate.calls).toEqual([]);
  });

  test("a line of subnet.env that assigns nothing is an error that names it, no crash", async () => {
    writeFileSync(subnetFile, `${SUBNET_ENV}FLANNEL_IPV6_NETWORK\n`);
    const { json } = await call("ADD");
    expect(json).toEqual({
      cniVersion: "1.0.0",
      code: 6,
      msg: `${subnetFile}: line 5 is "FLANNEL_IPV6_NETWORK": NAME=value is expected`,
    });
  });
});

describe("ADD", () => {
  test.each(VERSIONS)("ADD passes the delegate's result through as it is, with cniVersion %s", async (cniVersion) => {
    const answer = `{"cniVersion" : "${cniVersion}",\n "ip4": {"ip": "10.5.34.2/24"}, "of the future": 1e400}\n\n`;
    delegate.behave({ answer });
    const { code, stdout } = await call("ADD", { config: configOf({ cniVersion }) });
    expect({ code, stdout }).toEqual({ code: 0, stdout: answer });
    expect(delegate.config["cniVersion"]).toBe(cniVersion);
  });

  test("ADD gives the delegate the runtime's variables and a complete config, and keeps that config, 0600 in a directory of 0700", async () => {
    const config = configOf({ delegate: { hairpinMode: true }, runtimeConfig: { portMappings: [] } });
    const { stderr } = await call("ADD", { config, env: { CNI_ARGS: "K8S_POD_NAME=p" } });
    expect(stderr).toBe("a word to the administrator\n");
    expect(delegate.config).toEqual({
      cniVersion: "1.0.0",
      name: "cbr0",
      type: "bridge",
      mtu: 1450,
      ipMasq: true,
      isGateway: true,
      hairpinMode: true,
      runtimeConfig: { portMappings: [] },
      ipam: { type: "host-local", ranges: [[{ subnet: "10.5.34.0/24" }]], routes: [{ dst: "10.5.0.0/16" }] },
    });
    expect(delegate.environment).toBe(
      `CNI_ARGS=K8S_POD_NAME=p\nCNI_COMMAND=ADD\nCNI_CONTAINERID=c1\nCNI_IFNAME=eth0\nCNI_NETNS=/run/netns/c1\nCNI_PATH=/nonexistent:${delegate.directory}\n`,
    );
    expect(JSON.parse(readFileSync(join(dataDir, "c1"), "utf8"))).toMatchObject(delegate.config);
    expect([dataDir, join(dataDir, "c1")].map((path) => statSync(path).mode & 0o777)).toEqual([0o700, 0o600]);
  });

  test("ADD passes a delegate's error on, with its code, message and details", async () => {
    delegate.behave({
      answer: '{"cniVersion":"1.0.0","code":999,"msg":"no free address","details":"of 254"}',
      code: 1,
    });
    expect((await call("ADD")).json).toEqual({
      cniVersion: "1.0.0",
      code: 999,
      msg: "bridge: no free address",
      details: "of 254",
    });
  });

  test.each([
    ["with exit code 2", { answer: "panic: oh", code: 2 }, "panic: oh"],
    ["by SIGKILL", { run: "kill -9 $$" }, undefined],
  ])("ADD says of a delegate that ended %s without a word of CNI's just that", async (how, behaviour, details) => {
    delegate.behave(behaviour);
    const { json } = await call("ADD");
    const msg = `${delegate.directory}/bridge ended ${how} and did not say why; see its standard error`;
    expect(json).toEqual({ cniVersion: "1.0.0", code: 101, msg, ...(details && { details }) });
  });

  test("ADD gives no result that is none", async () => {
    delegate.behave({ answer: "created" });
    expect((await call("ADD")).json).toMatchObject({
      code: 6,
      msg: 'the result of bridge is not a JSON object: "created"',
    });
  });

  test("ADD delivers a result that is longer than a pipe", async () => {
    const answer = JSON.stringify({ routes: Array(20_000).fill({ dst: "10.0.0.0/8" }) });
    delegate.behave({ answer });
    expect((await call("ADD")).stdout).toBe(answer);
  });
});

describe("DEL", () => {
  test("DEL undoes what the ADD asked for, though config and subnet.env have gone elsewhere, and says nothing", async () => {
    await call("ADD", { config: configOf({ delegate: { bridge: "cni7" } }) });
    const added = delegate.config;
    rmSync(subnetFile);
    const prevResult = { cniVersion: "1.0.0" };
    const { code, stdout } = await call("DEL", {
      netns: "",
      config: configOf({ delegate: { type: "ptp" }, prevResult }),
    });
    expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
    expect(delegate.config).toEqual({ ...added, prevResult });
    expect(delegate.ended).toEqual(["ADD c1 eth0", "DEL c1 eth0"]);
    expect(records()).toEqual([]);
  });

  test("DEL may come twice, and without an ADD: what an ADD would have asked for is undone", async () => {
    await call("ADD");
    const added = delegate.config;
    for (let time = 0; time < 2; time++) {
      expect(await call("DEL")).toMatchObject({ code: 0, stdout: "" });
      expect(delegate.config).toEqual(added);
    }
    rmSync(subnetFile);
    expect(await call("DEL", { containerID: "never" })).toMatchObject({ code: 0, stdout: "", stderr: "" });
    expect(delegate.ended.filter((line) => line.startsWith("DEL"))).toHaveLength(2);
  });

  test("DEL that fails leaves all that the next one needs", async () => {
    await call("ADD");
    delegate.behave({ answer: '{"code":11,"msg":"busy"}', code: 1 });
    rmSync(subnetFile);
    expect((await call("DEL")).json).toMatchObject({ code: 11, msg: "bridge: busy" });
    delegate.behave({});
    expect(await call("DEL")).toMatchObject({ code: 0 });
    expect(delegate.ended).toEqual(["ADD c1 eth0", "DEL c1 eth0", "DEL c1 eth0"]);
  });

  test("DEL of a container whose record was cut off by a crash is tried by today's config, or again once there is one", async () => {
    mkdirSync(dataDir, { recursive: true });
    writeFileSync(join(dataDir, "c1"), "");
    rmSync(subnetFile);
    expect((await call("DEL")).json).toMatchObject({ code: 11 });
    writeFileSync(subnetFile, SUBNET_ENV);
    expect(await call("DEL")).toMatchObject({ code: 0, stderr: expect.stringContaining(join(dataDir, "c1")) });
    expect(delegate.ended).toEqual(["DEL c1 eth0"]);
    expect(records()).toEqual([]);
  });

  test("DEL takes the record that an earlier flannel left", async () => {
    mkdirSync(dataDir, { recursive: true });
    const theirs = { cniVersion: "0.3.1", name: "cbr0", type: "bridge", ipam: { type: "host-local" } };
    writeFileSync(join(dataDir, "c1"), JSON.stringify(theirs));
    expect(await call("DEL")).toMatchObject({ code: 0 });
    expect(delegate.config).toEqual(theirs);
    expect(records()).toEqual([]);
  });
});

describe("two operations on one container", () => {
  /** A delegate whose ADD goes on until the file is gone. */
  const SLOW = '[ "$CNI_COMMAND" != ADD ] || while [ -e "$here/hold" ]; do sleep 0.02; done';
  const { signal } = new AbortController();
  const began = () =>
    waitUntil(() => delegate.calls.length > 0, { signal, within: 30_000, what: "the delegate has begun" });
  let hold: string;

  beforeEach(() => {
    hold = join(delegate.directory, "hold");
    writeFileSync(hold, "");
  });

  test("a DEL waits until the ADD is done, and then undoes it", async () => {
    delegate.behave({ run: SLOW, answer: "{}" });
    const adding = call("ADD");
    await began();
    const deleting = call("DEL");
    expect(await call("DEL", { containerID: "another" })).toMatchObject({ code: 0 });
    rmSync(hold);
    expect([(await adding).code, (await deleting).code]).toEqual([0, 0]);
    expect(delegate.ended).toEqual(["DEL another eth0", "ADD c1 eth0", "DEL c1 eth0"]);
    expect(records()).toEqual([]);
  });

  test("an ADD that waited for a DEL, which took its record along, adds nothing and says so", async () => {
    delegate.behave({ run: SLOW.replace("ADD", "DEL"), answer: "{}" });
    const deleting = call("DEL");
    await began();
    const adding = call("ADD");
    await waitUntil(() => records().includes("c1"), { signal, within: 30_000, what: "the ADD has kept its record" });
    rmSync(hold);
    expect((await deleting).code).toBe(0);
    expect((await adding).json).toMatchObject({ code: 11, msg: "container c1 was deleted while it was being added" });
    expect(delegate.ended).toEqual(["DEL c1 eth0"]);
  });

  test("a DEL waits for a delegate whose flannel was killed, as a runtime does that is out of patience", async () => {
    delegate.behave({ run: SLOW, answer: "{}" });
    const env = pluginEnvironment({ command: "ADD", netns: "/run/netns/c1", path: delegate.directory });
    const adding = spawn(plugin, { env, stdio: ["pipe", "ignore", "ignore"] });
    adding.stdin.end(JSON.stringify(configOf()));
    await began();
    adding.kill("SIGKILL");
    await once(adding, "exit");
    const deleting = call("DEL");
    expect(await call("DEL", { containerID: "another" })).toMatchObject({ code: 0 });
    expect(delegate.calls.filter((line) => line.includes("c1"))).toEqual(["ADD c1 eth0 begin"]);
    rmSync(hold);
    expect((await deleting).code).toBe(0);
    expect(delegate.calls.filter((line) => line.includes("c1"))).toEqual([
      "ADD c1 eth0 begin",
      "ADD c1 eth0 end",
      "DEL c1 eth0 begin",
      "DEL c1 eth0 end",
    ]);
    expect(records()).toEqual([]);
  });
});

describe("CHECK", () => {
  test("CHECK asks the delegate, with the result that the runtime remembers", async () => {
    await call("ADD");
    const prevResult = { cniVersion: "1.0.0", ips: [{ address: "10.5.34.2/24" }] };
    const config = configOf({ prevResult });
    delegate.behave({});
    expect(await call("CHECK", { config })).toMatchObject({ code: 0, stdout: "" });
    expect(delegate.config).toMatchObject({ type: "bridge", prevResult });
    delegate.behave({ answer: '{"code":100,"msg":"eth0 is gone"}', code: 1 });
    expect((await call("CHECK", { config })).json).toMatchObject({ code: 100, msg: "bridge: eth0 is gone" });
  });

  test("CHECK fails once the host has another subnet, and does not mind if flanneld is away", async () => {
    await call("ADD");
    delegate.behave({});
    const config = configOf({ prevResult: {} });
    rmSync(subnetFile);
    expect(await call("CHECK", { config })).toMatchObject({ code: 0 });
    writeFileSync(subnetFile, SUBNET_ENV.replace("34", "35"));
    expect((await call("CHECK", { config })).json).toMatchObject({
      code: 102,
      msg: "the container's address is of 10.5.34.0/24, but this host's subnet is 10.5.35.0/24: make the container anew",
    });
  });
});

describe("STATUS", () => {
  const config = () => configOf({ cniVersion: "1.1.0" });

  test("STATUS says not yet until flanneld has written a file that makes sense, then what the delegate says", async () => {
    delegate.behave({});
    rmSync(subnetFile);
    expect((await call("STATUS", { config: config() })).json).toMatchObject({
      code: 50,
      msg: expect.stringContaining("is not there"),
    });
    writeFileSync(subnetFile, "FLANNEL_MTU=1450\n");
    expect((await call("STATUS", { config: config() })).json).toMatchObject({
      code: 50,
      msg: expect.stringContaining("is missing FLANNEL_NETWORK"),
    });
    writeFileSync(subnetFile, SUBNET_ENV);
    expect(await call("STATUS", { config: config() })).toMatchObject({ code: 0, stdout: "" });
    expect(delegate.ended).toEqual(["STATUS c1 eth0"]);
    delegate.behave({ answer: '{"code":50,"msg":"no free address"}', code: 1 });
    expect((await call("STATUS", { config: config() })).json).toMatchObject({
      code: 50,
      msg: "bridge: no free address",
    });
  });

  test("STATUS knows that the delegate is not installed, if it is told where plugins are", async () => {
    const missing = { ...config(), delegate: { type: "ptp" } };
    expect((await call("STATUS", { config: missing })).json).toMatchObject({
      code: 50,
      msg: expect.stringContaining('"ptp"'),
    });
    expect(await call("STATUS", { config: missing, path: "" })).toMatchObject({ code: 0 });
  });
});

describe("GC", () => {
  const gc = (...containers: readonly string[]) =>
    call("GC", {
      containerID: "",
      ifname: "",
      netns: "",
      config: configOf({
        cniVersion: "1.1.0",
        "cni.dev/valid-attachments": containers.map((containerID) => ({ containerID, ifname: "eth0" })),
      }),
    });

  test("GC undoes every ADD of the network that is not in the list, then asks the delegate, and leaves other networks alone", async () => {
    for (const containerID of ["kept", "stale"]) await call("ADD", { containerID });
    await call("ADD", { containerID: "kept", ifname: "net1" });
    await call("ADD", { containerID: "foreign", config: configOf({ name: "other" }) });
    delegate.behave({});
    expect(await gc("kept")).toMatchObject({ code: 0, stdout: "" });
    expect(delegate.ended.slice(4)).toEqual(["DEL kept net1", "DEL stale eth0", "GC  "]);
    expect(delegate.config).toMatchObject({
      cniVersion: "1.1.0",
      type: "bridge",
      "cni.dev/valid-attachments": [{ containerID: "kept", ifname: "eth0" }],
    });
    expect(records()).toEqual(["foreign", "kept"]);
  });

  test("GC goes on after a failure, tells of it, and tries again the next time", async () => {
    for (const containerID of ["bad", "stale"]) await call("ADD", { containerID });
    delegate.behave({ run: 'if [ "$CNI_CONTAINERID" = bad ]; then echo \'{"code":11,"msg":"busy"}\'; exit 1; fi' });
    expect((await gc()).json).toMatchObject({ code: 11, msg: "bridge: busy" });
    expect(delegate.ended.slice(2)).toEqual(["DEL stale eth0", "GC  "]);
    delegate.behave({});
    expect(await gc()).toMatchObject({ code: 0 });
    expect(records()).toEqual([]);
  });

  test("GC leaves a container alone that is being added", async () => {
    const hold = join(delegate.directory, "hold");
    writeFileSync(hold, "");
    delegate.behave({ run: `[ "$CNI_COMMAND" != ADD ] || while [ -e ${hold} ]; do sleep 0.02; done`, answer: "{}" });
    const adding = call("ADD");
    const { signal } = new AbortController();
    await waitUntil(() => delegate.calls.length > 0, { signal, within: 30_000, what: "the delegate has begun" });
    expect(await gc()).toMatchObject({ code: 0 });
    rmSync(hold);
    await adding;
    expect(delegate.ended).toEqual(["GC  ", "ADD c1 eth0"]);
    expect(records()).toContain("c1");
  });

  test("GC before flanneld has a subnet goes by what was added before", async () => {
    await call("ADD", { containerID: "stale" });
    rmSync(subnetFile);
    delegate.behave({});
    expect(await gc()).toMatchObject({ code: 0 });
    expect(delegate.ended.slice(1)).toEqual(["DEL stale eth0", "GC  "]);
    expect(await gc()).toMatchObject({ code: 0 });
  });
});
