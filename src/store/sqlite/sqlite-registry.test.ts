import { chmodSync, copyFileSync, mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseAddress } from "../../ip/address.ts";
import { parsePrefix } from "../../ip/prefix.ts";
import { HistoryLostError, StoreUnavailableError } from "../../lease/errors.ts";
import { continuesHistory, leaseKey } from "../../lease/lease.ts";
import type { Clock } from "../../lib/clock.ts";
import { InvalidConfigError, UnsupportedError } from "../../lib/errors.ts";
import { FakeClock } from "../../lib/fake-clock.ts";
import { silentLogger } from "../../lib/logger.ts";
import { RecordingLogger } from "../../lib/recording-logger.ts";
import { failure } from "../conformance/registry-bench.ts";
import { openSqliteRegistry, type SqliteRegistryOptions } from "./sqlite-registry.ts";

const { signal } = new AbortController();
const options = { signal };

let directory: string;
let file: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "fs-unit-"));
  file = join(directory, "leases.db");
});
afterEach(() => rmSync(directory, { recursive: true }));

const open = (more: Partial<SqliteRegistryOptions> = {}, path = file) =>
  openSqliteRegistry(path, { logger: silentLogger, ...more }, options);

const claim = (number: number, isReservation = false) => ({
  subnet: parsePrefix(`10.5.${number}.0/24`),
  attributes: { publicIP: parseAddress("192.0.2.1") },
  isReservation,
});

function edit(change: (db: DatabaseSync) => unknown): void {
  const db = new DatabaseSync(file);
  change(db);
  db.close();
}

describe("openSqliteRegistry()", () => {
  test("makes the directory 0700 and the file 0600", async () => {
    const path = join(directory, "a/b/leases.db");
    await using _ = await open({}, path);
    expect(statSync(join(directory, "a/b")).mode & 0o777).toBe(0o700);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("leaves the mode of a file that is there alone", async () => {
    await (await open())[Symbol.asyncDispose]();
    chmodSync(file, 0o640);
    await using _ = await open();
    expect(statSync(file).mode & 0o777).toBe(0o640);
  });

  test("makes nothing unless told to", async () => {
    const error = await failure(open({ create: false }));
    expect(error).toBeInstanceOf(InvalidConfigError);
    expect((error as Error).message).toBe(`--embedded-store: there is no file ${file}`);
    expect(() => statSync(file)).toThrow(/ENOENT/);
  });

  test("refuses what is no database, and leaves it as it is", async () => {
    const text = "these are not leases\n".repeat(100);
    writeFileSync(file, text);
    const error = await failure(open());
    expect(error).toBeInstanceOf(UnsupportedError);
    expect((error as Error).message).toContain(`${file}: the file is not an SQLite database; it is left as it is`);
    expect(statSync(file).size).toBe(text.length);
  });

  test("refuses another program's database", async () => {
    edit((db) => db.exec("CREATE TABLE song (title TEXT)"));
    const error = await failure(open());
    expect(error).toBeInstanceOf(UnsupportedError);
    expect((error as Error).message).toContain("an SQLite database, but not of flannel");
    edit((db) => expect(db.prepare("SELECT name FROM sqlite_schema").all()).toEqual([{ name: "song" }]));
  });

  test("refuses a newer flannel's database and says so", async () => {
    await (await open())[Symbol.asyncDispose]();
    edit((db) => db.exec("PRAGMA user_version = 99"));
    const error = await failure(open());
    expect(error).toBeInstanceOf(UnsupportedError);
    expect((error as Error).message).toContain("it has schema 99, and this one knows 1");
  });

  test("says that a damaged database is damaged", async () => {
    const registry = await open();
    await Promise.all(Array.from({ length: 200 }, (_, number) => registry.createLease("", claim(number), options)));
    await registry[Symbol.asyncDispose]();
    truncateSync(file, 20_480);
    const error = await failure(open());
    expect(error).toBeInstanceOf(UnsupportedError);
    expect((error as Error).message).toContain("the database is damaged; it is left as it is");
    expect(statSync(file).size).toBe(20_480);
  });

  test("waits for what is about to be copied into an empty file", async () => {
    const backup = join(directory, "backup.db");
    const registry = await open({}, backup);
    await registry.createLease("", claim(7), options);
    await registry[Symbol.asyncDispose]();
    writeFileSync(file, ""); // as `cp` leaves it for a moment
    const clock = new FakeClock();
    const opening = open({ clock });
    await clock.advance(500);
    expect(statSync(file).size).toBe(0);
    copyFileSync(backup, file);
    await clock.advance(500);
    await using restored = await opening;
    expect((await restored.listLeases("", options)).leases.map(({ subnet }) => subnet)).toEqual([claim(7).subnet]);
  });

  test("makes a store of a file that stays empty", async () => {
    writeFileSync(file, "");
    const clock = new FakeClock();
    const opening = open({ clock });
    await clock.advance(1_100);
    await using registry = await opening;
    expect((await registry.listLeases("", options)).leases).toEqual([]);
    expect(statSync(file).size).toBeGreaterThan(0);
  });

  test("refuses a directory in the place of the file", async () => {
    const error = await failure(open({}, directory));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect((error as Error).message).toContain(directory);
  });

  test("asks what file system the file is on", async () => {
    const error = await failure(open({ fileSystemType: () => 0x6969 }));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect((error as UnsupportedError).hint).toContain("use etcd");
  });
});

describe("SqliteRegistry", () => {
  test("keeps a bounded history", async () => {
    await using registry = await open({ historyLength: 50 });
    const { cursor } = await registry.listLeases("", options);
    for (let round = 0; round < 3; round++) {
      const leases = await Promise.all(
        Array.from({ length: 100 }, (_, n) => registry.createLease("", claim(n), options)),
      );
      await Promise.all(leases.map((lease) => registry.deleteLease("", lease, options)));
    }
    edit((db) => {
      const { count } = db.prepare("SELECT count(*) AS count FROM change").get() as { count: number };
      expect(count).toBeGreaterThanOrEqual(50);
      expect(count).toBeLessThan(50 + 128);
    });
    const error = await failure(registry.watchLeases("", cursor, options)[Symbol.asyncIterator]().next());
    expect((error as Error).message).toContain("are forgotten");
  });

  test("notices that its file was replaced, and says so", async () => {
    const logger = new RecordingLogger();
    await using registry = await open({ logger });
    await registry.createLease("", claim(1), options);
    const before = await registry.listLeases("", options);
    copyFileSync(file, `${file}.backup`);
    await registry.createLease("", claim(2), options);
    rmSync(file);
    expect(await failure(registry.listLeases("", options))).toBeInstanceOf(StoreUnavailableError);
    expect(() => statSync(file)).toThrow(/ENOENT/);
    copyFileSync(`${file}.backup`, file);
    const after = await registry.listLeases("", options);
    expect(after.leases.map(leaseKey)).toEqual(["10.5.1.0/24"]);
    expect(after.cursor).toEqual(before.cursor);
    expect(logger.messages("warn")).toEqual(["the embedded store was replaced by another file"]);
  });

  test("works on a file that was overwritten with a backup, though it is the same file", async () => {
    await using registry = await open();
    await using other = await open();
    await registry.createLease("", claim(1), options);
    copyFileSync(file, `${file}.backup`);
    await Promise.all(Array.from({ length: 98 }, (_, index) => registry.createLease("", claim(index + 2), options)));
    expect((await other.listLeases("", options)).leases).toHaveLength(99);
    copyFileSync(`${file}.backup`, file);
    for (const each of [registry, other])
      expect((await each.listLeases("", options)).leases.map(leaseKey)).toEqual(["10.5.1.0/24"]);
    await registry.createLease("", claim(2), options);
    expect((await other.listLeases("", options)).leases.map(leaseKey)).toEqual(["10.5.1.0/24", "10.5.2.0/24"]);
    edit((db) => expect(db.prepare("PRAGMA integrity_check").get()).toEqual({ integrity_check: "ok" }));
  });

  test("begins another history once a watcher knows that the store was restored", async () => {
    await using registry = await open();
    await registry.createLease("", claim(1), options);
    copyFileSync(file, `${file}.backup`);
    await registry.createLease("", claim(2), options);
    const { cursor } = await registry.listLeases("", options);
    copyFileSync(`${file}.backup`, file);
    const error = await failure(registry.watchLeases("", cursor, options)[Symbol.asyncIterator]().next());
    expect(error).toBeInstanceOf(HistoryLostError);
    expect((error as Error).message).toContain("restored from a backup: it was at revision 1, before 2");
    await registry.createLease("", claim(3), options);
    await registry.createLease("", claim(4), options);
    const after = await registry.listLeases("", options);
    expect(after.cursor.index).toBeGreaterThan(cursor.index);
    expect(continuesHistory(cursor, after.cursor)).toBe(false);
    expect(await failure(registry.watchLeases("", cursor, options)[Symbol.asyncIterator]().next())).toBeInstanceOf(
      HistoryLostError,
    );
  });

  test("gives up a write that another process keeps out, but not the reading", async () => {
    let now = 0;
    let other: DatabaseSync | undefined;
    const clock: Clock = {
      now: () => now,
      wallClock: () => new Date(now),
      async sleep(span) {
        now += Math.max(span, 1_000);
        if (now > 8_000) other?.close();
      },
    };
    await using registry = await open({ clock });
    other = new DatabaseSync(file);
    other.exec("BEGIN IMMEDIATE");
    const error = await failure(registry.createLease("", claim(1), options));
    expect(error).toBeInstanceOf(StoreUnavailableError);
    expect((error as Error).message).toContain("another process is keeping it locked");
    expect((await registry.listLeases("", options)).leases).toEqual([]);
    expect((await registry.createLease("", claim(1), options)).revision).toBe(1n); // it let go meanwhile
  });

  test("ends every call with an error once it is disposed of", async () => {
    const registry = await open();
    await registry[Symbol.asyncDispose]();
    expect(await failure(registry.listLeases("", options))).toBeInstanceOf(StoreUnavailableError);
    expect(await failure(registry.createLease("", claim(1), options))).toBeInstanceOf(StoreUnavailableError);
  });
});

describe("expiry", () => {
  const MINUTE = 60_000;
  const TTL = 10 * MINUTE;
  const GRACE = 3 * MINUTE;

  /** A clock that the test lets go on, or puts forward over everyone's head, as the machine's sleep does. */
  class Time implements Clock {
    readonly fake = new FakeClock();
    suspended = 0;
    wallStep = 0;

    now() {
      return this.fake.now() + this.suspended;
    }

    wallClock() {
      return new Date(this.fake.wallClock().getTime() + this.suspended + this.wallStep);
    }

    sleep(span: number, stop: { readonly signal: AbortSignal }) {
      return this.fake.sleep(span, stop);
    }
  }

  /** A registry that watches, and so expires. */
  async function watching(time: Time, bootId = "boot 1") {
    const registry = await open({ clock: time, bootId, grace: GRACE, ttl: TTL });
    const stop = new AbortController();
    const { cursor } = await registry.listLeases("", options);
    const removed: string[] = [];
    const reading = (async () => {
      for await (const { events } of registry.watchLeases("", cursor, { signal: stop.signal }))
        for (const event of events) if (event.type === "removed") removed.push(leaseKey(event));
    })().catch(() => {});
    return {
      registry,
      removed,
      async [Symbol.asyncDispose]() {
        stop.abort();
        await reading;
        await registry[Symbol.asyncDispose]();
      },
    };
  }

  test("removes a lease when its time is over, but no reservation, and tells watchers", async () => {
    const time = new Time();
    await using bench = await watching(time);
    await bench.registry.createLease("", claim(1), options);
    await bench.registry.createLease("", claim(2, true), options);
    await time.fake.advance(TTL - MINUTE);
    expect(bench.removed).toEqual([]);
    await time.fake.advance(2 * MINUTE);
    expect(bench.removed).toEqual(["10.5.1.0/24"]);
    expect((await bench.registry.listLeases("", options)).leases.map(leaseKey)).toEqual(["10.5.2.0/24"]);
  });

  test("spares a lease that is renewed", async () => {
    const time = new Time();
    await using bench = await watching(time);
    const lease = await bench.registry.createLease("", claim(1), options);
    await time.fake.advance(TTL - MINUTE);
    await bench.registry.updateLease("", lease, lease, options);
    await time.fake.advance(TTL - MINUTE);
    expect(bench.removed).toEqual([]);
    await time.fake.advance(2 * MINUTE);
    expect(bench.removed).toEqual(["10.5.1.0/24"]);
  });

  test("removes nothing before this process has been up for the grace period", async () => {
    const time = new Time();
    {
      await using first = await open({ clock: time, bootId: "boot 1", ttl: TTL });
      await first.createLease("", claim(1), options);
    }
    time.suspended += 2 * TTL;
    await using bench = await watching(time);
    await time.fake.advance(GRACE - MINUTE / 2);
    expect(bench.removed).toEqual([]);
    await time.fake.advance(GRACE);
    expect(bench.removed).toEqual(["10.5.1.0/24"]);
  });

  test("gives every owner the grace period again after the machine slept", async () => {
    const time = new Time();
    await using bench = await watching(time);
    await bench.registry.createLease("", claim(1), options);
    const kept = await bench.registry.createLease("", claim(2), options);
    await time.fake.advance(2 * GRACE);
    time.suspended += 2 * TTL;
    await time.fake.advance(GRACE - MINUTE);
    expect(bench.removed).toEqual([]);
    await bench.registry.updateLease("", kept, kept, options);
    await time.fake.advance(GRACE);
    expect(bench.removed).toEqual(["10.5.1.0/24"]);
  });

  test("kills no lease when the wall clock steps, in either direction", async () => {
    for (const step of [-10_000 * TTL, 10_000 * TTL]) {
      rmSync(file, { force: true });
      const time = new Time();
      await using bench = await watching(time);
      await bench.registry.createLease("", claim(1), options);
      time.wallStep = step;
      await using another = await watching(time);
      await time.fake.advance(TTL - MINUTE);
      expect([...bench.removed, ...another.removed]).toEqual([]);
      await time.fake.advance(2 * MINUTE);
      expect(bench.removed).toEqual(["10.5.1.0/24"]);
    }
  });

  test("goes by the wall clock for leases from before a reboot", async () => {
    const time = new Time();
    {
      await using first = await open({ clock: time, bootId: "boot 1", ttl: TTL });
      await first.createLease("", claim(1), options);
    }
    const afterBoot = new Time(); // which counts from 0 again
    afterBoot.wallStep = TTL / 2;
    await using bench = await watching(afterBoot, "boot 2");
    const [lease] = (await bench.registry.listLeases("", options)).leases;
    expect(lease?.expiresAt).toBe(afterBoot.now() + TTL / 2);
    await afterBoot.fake.advance(TTL / 2 - MINUTE);
    expect(bench.removed).toEqual([]);
    await afterBoot.fake.advance(2 * MINUTE);
    expect(bench.removed).toEqual(["10.5.1.0/24"]);
  });
});
