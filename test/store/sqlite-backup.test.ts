// Copies of an embedded store that another process writes to all the time.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { InvalidConfigError } from "../../src/lib/errors.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { backUpStore } from "../../src/store/sqlite/back-up.ts";
import { openSqliteRegistry } from "../../src/store/sqlite/sqlite-registry.ts";

const options = { signal: new AbortController().signal };
const logger = silentLogger;

test("backUpStore() copies a store in the midst of writes: each copy is whole, opens, and has every lease up to its revision", async () => {
  using cleanup = new DisposableStack();
  const directory = mkdtempSync(join(tmpdir(), "backup-"));
  cleanup.defer(() => rmSync(directory, { recursive: true }));
  const [store, copy] = [join(directory, "leases.db"), join(directory, "copy.db")];
  const taker = spawn(process.execPath, [join(import.meta.dirname, "lease-taker.ts"), store], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  cleanup.defer(() => taker.kill("SIGKILL"));
  await once(taker.stdout, "data");

  const revisions: bigint[] = [];
  for (let round = 0; round < 8; round++) {
    const { leases, revision } = await backUpStore(store, copy, { logger }, options);
    revisions.push(revision);
    expect(BigInt(leases)).toBe(revision); // each write is one lease
    {
      using db = new DatabaseSync(copy, { readOnly: true });
      expect(db.prepare("PRAGMA integrity_check").get()).toEqual({ integrity_check: "ok" });
    }
    await using registry = await openSqliteRegistry(copy, { logger, create: false }, options);
    const listing = await registry.listLeases("", options);
    expect(listing.leases.map((lease) => lease.revision).toSorted((a, b) => Number(a - b))).toEqual(
      Array.from({ length: leases }, (_, index) => BigInt(index + 1)),
    );
  }
  expect(revisions.at(-1)).toBeGreaterThan(revisions[0] ?? 0n); // it did write meanwhile
  expect(statSync(copy).mode & 0o777).toBe(0o600);
  expect(readdirSync(directory).filter((name) => name.includes("tmp"))).toEqual([]);
  expect(taker.exitCode).toBe(null);
  await expect(backUpStore(store, store, { logger }, options)).rejects.toThrow(InvalidConfigError);
});
