import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { type HandoverRecord, ownProcessId, readHandoverRecord, writeHandoverRecord } from "./handover-record.ts";

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), "flannel-record-"));
  onTestFinished(() => rmSync(path, { recursive: true }));
  return path;
}

const record: HandoverRecord = {
  holder: { pid: 4_000_000, startTime: "123" },
  daemon: ownProcessId(),
  names: ["tun", "udp"],
};

test("readHandoverRecord() reads what was written, which is nobody else's to read", () => {
  const path = join(directory(), "state", "handover.json");
  expect(readHandoverRecord(path)).toBeUndefined();
  writeHandoverRecord(path, { ...record, names: ["other"] });
  writeHandoverRecord(path, record);
  expect(readHandoverRecord(path)).toEqual(record);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(join(path, ".."))).toEqual(["handover.json"]);
});

test("readHandoverRecord() does not believe a record from before a reboot or from another container", () => {
  const path = join(directory(), "handover.json");
  writeHandoverRecord(path, record);
  const text = readFileSync(path, "utf8");
  for (const other of [text.replace(/"pidsOf":"./, '"pidsOf":"x'), text.replace("pid:[", "pid:[1")]) {
    expect(other).not.toBe(text);
    writeFileSync(path, other);
    expect(readHandoverRecord(path)).toBeUndefined();
  }
});

test("readHandoverRecord() does not believe a record that others could have written", () => {
  const path = join(directory(), "handover.json");
  writeHandoverRecord(path, record);
  chmodSync(path, 0o660);
  expect(() => readHandoverRecord(path)).toThrow("others could have written it");
});

const good = { pidsOf: "here", holder: { pid: 5, startTime: "1" }, daemon: { pid: 6, startTime: "2" }, names: ["a"] };

test.each([
  "",
  "\0",
  "[]",
  "null",
  '{"pidsOf":"here"}',
  JSON.stringify({ ...good, holder: { pid: "5", startTime: "1" } }),
  JSON.stringify({ ...good, holder: { pid: -1, startTime: "1" } }),
  JSON.stringify({ ...good, holder: { pid: 1.5, startTime: "1" } }),
  JSON.stringify({ ...good, holder: { pid: 5e12, startTime: "1" } }),
  JSON.stringify({ ...good, daemon: { pid: 5, startTime: "" } }),
  JSON.stringify({ ...good, names: [] }),
  JSON.stringify({ ...good, names: [7] }),
])("readHandoverRecord() refuses %j", (text) => {
  const path = join(directory(), "handover.json");
  writeFileSync(path, text, { mode: 0o600 });
  expect(() => readHandoverRecord(path)).toThrow(Error);
});

test("writeHandoverRecord() leaves nothing behind where it cannot write", () => {
  const path = directory();
  writeFileSync(join(path, "file"), "");
  expect(() => writeHandoverRecord(join(path, "file", "handover.json"), record)).toThrow(Error);
  expect(() => writeHandoverRecord(path, record)).toThrow(Error);
  expect(readdirSync(path)).toEqual(["file"]);
});
