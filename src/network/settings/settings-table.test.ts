import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FakeKernel } from "../../kernel/fake-kernel.ts";
import { RecordingLogger } from "../../lib/recording-logger.ts";
import { cleanUp } from "../cleanup/clean-up.ts";
import { settingsLeftovers } from "../cleanup/settings-leftovers.ts";
import { hostSettings } from "./needs.ts";
import { openSettingsRecord, SettingsRecord } from "./settings-record.ts";
import { SettingsTable } from "./settings-table.ts";

const options = { signal: new AbortController().signal };
const NEEDS = { families: [4], underlay: "eth0", devices: [], hasServices: false, routed: [] } as const;

let stateDir = "";
let kernel: FakeKernel;
let logger: RecordingLogger;
beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), "flannel-settings-"));
  kernel = new FakeKernel();
  logger = new RecordingLogger();
  kernel.setLink({ name: "eth0" });
  for (const [key, value] of Object.entries({
    "net/ipv4/ip_forward": "0",
    "net/ipv4/conf/all/accept_redirects": "0",
    "net/ipv4/conf/default/forwarding": "0",
    "net/ipv4/conf/eth0/forwarding": "1",
  }))
    kernel.setSysctl(key, value);
});
afterEach(() => rmSync(stateDir, { recursive: true, force: true }));

async function fill(): Promise<void> {
  const record = await SettingsRecord.open(stateDir);
  const table = new SettingsTable(hostSettings(NEEDS), { kernel, record, logger });
  const actual = await table.list(options);
  const puts = table.rows.filter((row) => !actual.some((each) => each.key === row.key && table.equal(row, each)));
  expect(await table.apply({ puts, removals: [] }, options)).toEqual([]);
}

/** What Linux does along with the switch. */
function turnedOff(): void {
  kernel.setSysctl("net/ipv4/conf/all/accept_redirects", "1");
  kernel.setSysctl("net/ipv4/conf/eth0/forwarding", "0");
}

async function putBack(isRehearsal = false) {
  const record = await SettingsRecord.open(stateDir);
  return await cleanUp([settingsLeftovers(kernel, record)], { isRehearsal, ...options });
}

describe("SettingsTable", () => {
  test("changes what does not suffice, says what it was, and it is put back with what the kernel takes along", async () => {
    await fill();
    expect(kernel.sysctl("net/ipv4/ip_forward")).toBe("1");
    expect(logger.lines.at(-1)?.fields).toMatchObject({ sysctl: "net.ipv4.ip_forward = 1", was: "0" });
    expect((await putBack(true)).removed).toEqual([{ kind: "sysctl", name: "net.ipv4.ip_forward = 1, was 0" }]);
    expect(kernel.sysctl("net/ipv4/ip_forward")).toBe("1");
    turnedOff();
    expect((await putBack()).failed).toEqual([]);
    expect(kernel.sysctl("net/ipv4/ip_forward")).toBe("0");
    expect(kernel.sysctl("net/ipv4/conf/all/accept_redirects")).toBe("0");
    expect(kernel.sysctl("net/ipv4/conf/eth0/forwarding")).toBe("1");
    expect((await putBack()).removed).toEqual([]);
  });

  test("remembers what was found first, however often it is set", async () => {
    await fill();
    kernel.setSysctl("net/ipv4/ip_forward", "0");
    await fill();
    expect((await SettingsRecord.open(stateDir)).changed[0]).toEqual({
      key: "net/ipv4/ip_forward",
      found: "0",
      set: "1",
    });
  });

  test("changes nothing that it cannot remember", async () => {
    const record = await SettingsRecord.open(join(stateDir, "file", "below"));
    writeFileSync(join(stateDir, "file"), "");
    const table = new SettingsTable(hostSettings(NEEDS), { kernel, record, logger });
    await expect(table.apply({ puts: table.rows.slice(0, 1), removals: [] }, options)).rejects.toThrow("ENOTDIR");
    expect(kernel.sysctl("net/ipv4/ip_forward")).toBe("0");
  });

  test("leaves alone what somebody else has changed since", async () => {
    await fill();
    kernel.setSysctl("net/ipv4/ip_forward", "2");
    const { removed, leftAlone } = await putBack();
    expect(removed).toEqual([]);
    expect(leftAlone).toEqual([
      { kind: "sysctl", name: "net.ipv4.ip_forward = 2, was 0", reason: expect.stringContaining("set it to 1") },
    ]);
  });
});

describe("SettingsRecord", () => {
  test("knows nothing of what was changed before the last boot", async () => {
    await fill();
    const path = join(stateDir, "sysctls.json");
    writeFileSync(path, readFileSync(path, "utf8").replace(/"boot": "[^"]+"/, '"boot": "another"'));
    expect((await SettingsRecord.open(stateDir)).changed).toEqual([]);
  });

  test.each([
    "",
    "{}",
    '{"boot": "x", "changed": [{"key": "net/../kernel/core_pattern", "found": "|/bin/sh"}]}',
    '{"boot": "x", "changed": [{"key": "kernel/core_pattern", "found": "|/bin/sh"}]}',
    '{"boot": "x", "changed": [{"key": "net/ipv4/ip_forward", "found": 1}]}',
  ])("says which file makes no sense: %s", async (text) => {
    const path = join(stateDir, "sysctls.json");
    writeFileSync(path, text);
    await expect(SettingsRecord.open(stateDir)).rejects.toThrow(path);
    expect((await openSettingsRecord(stateDir, logger)).changed).toEqual([]);
    expect(logger.messages("error")).toHaveLength(1);
  });
});
