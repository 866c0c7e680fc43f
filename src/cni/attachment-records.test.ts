import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AttachmentRecords } from "./attachment-records.ts";

const ETH0 = { containerID: "c1", ifname: "eth0" };
const NET1 = { containerID: "c1", ifname: "net1" };
const CONFIG = { name: "cbr0", type: "bridge", mtu: 1450 };

describe("AttachmentRecords", () => {
  let directory: string;
  let records: AttachmentRecords;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "flannel-records-"));
    records = new AttachmentRecords(directory);
  });

  afterEach(() => rmSync(directory, { recursive: true }));

  test("AttachmentRecords gives back what was written, in a file of mode 0600 that is named after the container", () => {
    records.write(ETH0, CONFIG);
    expect(records.read(ETH0)).toEqual({ attachment: ETH0, config: CONFIG });
    expect(readdirSync(directory)).toEqual(["c1"]);
    expect(statSync(join(directory, "c1")).mode & 0o777).toBe(0o600);
  });

  test("AttachmentRecords keeps several interfaces of a container apart", () => {
    records.write(ETH0, CONFIG);
    expect(records.read(NET1)).toBeUndefined();
    records.write(NET1, { ...CONFIG, name: "other" });
    records.remove(NET1);
    records.remove(NET1);
    expect(records.read(ETH0)?.config).toEqual(CONFIG);
  });

  test("AttachmentRecords finds what an earlier flannel wrote for any interface, and removes it once", () => {
    writeFileSync(join(directory, "c1"), JSON.stringify(CONFIG));
    expect(records.read(NET1)?.config).toEqual(CONFIG);
    records.remove(NET1);
    expect(readdirSync(directory)).toEqual([]);
  });

  test("AttachmentRecords is read by an earlier flannel: the config itself is the file", () => {
    records.write(ETH0, CONFIG);
    expect(JSON.parse(readFileSync(join(directory, "c1"), "utf8"))).toMatchObject(CONFIG);
  });

  test("AttachmentRecords names a file that holds no config", () => {
    for (const text of ["", "[]", "{", '{"name":"cbr0"}']) {
      writeFileSync(join(directory, "c1"), text);
      expect(() => records.read(ETH0), text).toThrow(join(directory, "c1"));
    }
  });

  test("AttachmentRecords lists every interface, and what cannot be read beside it", () => {
    records.write(ETH0, CONFIG);
    records.write(NET1, CONFIG);
    writeFileSync(join(directory, "c2"), "{");
    writeFileSync(join(directory, ".c2.lock"), "");
    const { records: found, errors } = records.list();
    expect(found.map(({ attachment }) => attachment)).toEqual([ETH0, NET1]);
    expect(errors.map(({ message }) => message)).toEqual([expect.stringContaining(join(directory, "c2"))]);
    expect(new AttachmentRecords(join(directory, "none")).list()).toEqual({ records: [], errors: [] });
  });

  test("AttachmentRecords removes what was half written for an attachment by a process that is no more", () => {
    const nobody = 4_194_305; // one more than Linux gives
    const kept = [
      "c1",
      `.c1.${process.pid}.tmp`,
      `.c1@net1.${nobody}.tmp`,
      `.c12.${nobody}.tmp`,
      `.c1.${nobody}.x.tmp`,
    ];
    for (const name of [...kept, `.c1.${nobody}.tmp`]) writeFileSync(join(directory, name), "half");
    records.removeRemainsOf(ETH0);
    expect(readdirSync(directory).toSorted()).toEqual(kept.toSorted());
    new AttachmentRecords(join(directory, "none")).removeRemainsOf(ETH0);
  });

  test("AttachmentRecords removes half a file an hour after whoever wrote it was killed, not sooner", () => {
    const now = 1_800_000_000_000;
    const write = (name: string, age: number) => {
      writeFileSync(join(directory, name), "half");
      utimesSync(join(directory, name), (now - age) / 1000, (now - age) / 1000);
    };
    write(".c1.77-1.tmp", 3_700_000);
    write(".c1.78-1.tmp", 3_500_000);
    write("c1", 3_700_000);
    records.removeAbandonedFiles(now);
    expect(readdirSync(directory).toSorted()).toEqual([".c1.78-1.tmp", "c1"]);
  });
});
