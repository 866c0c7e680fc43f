import { expect, test } from "vitest";
import { UnsupportedError } from "../../lib/errors.ts";
import { requireLocalFileSystem } from "./file-system.ts";

const EXT4 = 0xef53;
const missing = Object.assign(new Error("ENOENT"), { code: "ENOENT" });

test("requireLocalFileSystem() refuses network file systems by name and says what to do", () => {
  for (const [type, name] of [
    [0x6969, "NFS"],
    [0xff534d42, "CIFS"],
    [0x01021997, "9P"],
  ] as const) {
    const check = () => requireLocalFileSystem("/srv/leases.db", () => type);
    expect(check).toThrow(UnsupportedError);
    expect(check).toThrow(
      `--embedded-store: /srv/leases.db is on ${name}, a network file system (put it on a local disk`,
    );
  }
});

test("requireLocalFileSystem() takes local ones", () => {
  for (const type of [EXT4, 0x01021994, 0x794c7630])
    expect(() => requireLocalFileSystem("/srv/leases.db", () => type)).not.toThrow();
});

test("requireLocalFileSystem() asks about the nearest directory that is there", () => {
  const types = new Map([
    ["/srv", 0x6969],
    ["/", EXT4],
  ]);
  const asked: string[] = [];
  const check = () =>
    requireLocalFileSystem("/srv/a/b/leases.db", (path) => {
      asked.push(path);
      const type = types.get(path);
      if (type === undefined) throw missing;
      return type;
    });
  expect(check).toThrow(/NFS/);
  expect(asked).toEqual(["/srv/a/b/leases.db", "/srv/a/b", "/srv/a", "/srv"]);
});

test("requireLocalFileSystem() passes on what statfs cannot do", () => {
  const denied = Object.assign(new Error("EACCES"), { code: "EACCES" });
  const check = () =>
    requireLocalFileSystem("/srv/leases.db", () => {
      throw denied;
    });
  expect(check).toThrow(denied);
});
