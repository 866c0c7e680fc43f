import { copyFile, mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { LEASE_TTL, leaseKey } from "../../src/lease/lease.ts";
import { type Clock, systemClock } from "../../src/lib/clock.ts";
import type { Logger } from "../../src/lib/logger.ts";
import type { RegistryFixture } from "../../src/store/conformance/registry-harness.ts";
import { describeRegistry } from "../../src/store/registry-conformance.ts";
import { openSqliteRegistry } from "../../src/store/sqlite/sqlite-registry.ts";

const signal = new AbortController().signal;

interface SqliteFixture extends RegistryFixture {
  readonly file: string;
  readonly logger: Logger;
}

describeRegistry<SqliteFixture>("SqliteRegistry", {
  async open({ logger }) {
    const directory = await mkdtemp(join(tmpdir(), "fs-registry-"));
    const file = join(directory, "leases.db");
    const open = () => openSqliteRegistry(file, { logger, grace: 0 }, { signal });
    const registry = await open();
    return {
      registry,
      openSecond: open,
      file,
      logger,
      async [Symbol.asyncDispose]() {
        await registry[Symbol.asyncDispose]();
        await rm(directory, { recursive: true });
      },
    };
  },

  async writeEntry({ file }, network, key, value) {
    edit(file, (db) => {
      const { revision } = db.prepare("UPDATE store SET revision = revision + 1 RETURNING revision").get() as {
        revision: number;
      };
      db.prepare("INSERT INTO lease (network, key, value, revision) VALUES (?, ?, ?, ?)").run(
        network,
        key,
        value,
        revision,
      );
      db.prepare("INSERT INTO change (network, key, value, revision) VALUES (?, ?, ?, ?)").run(
        network,
        key,
        value,
        revision,
      );
    });
  },

  // A process that lives a day later finds the lease overdue.
  async expire({ file, logger }, network, subnet) {
    const clock: Clock = { ...systemClock, now: () => systemClock.now() + LEASE_TTL + 60_000 };
    await using registry = await openSqliteRegistry(file, { clock, logger, grace: 0, ttl: 1_000 }, { signal });
    const { cursor } = await registry.listLeases(network, { signal });
    for await (const { events } of registry.watchLeases(network, cursor, { signal }))
      if (events.some((event) => event.type === "removed" && leaseKey(event) === leaseKey({ subnet }))) return;
  },

  async compact({ file }) {
    edit(file, (db) => db.exec("DELETE FROM change; UPDATE store SET pruned = revision"));
  },

  async wipe({ file, logger }) {
    await rm(file);
    await using _ = await openSqliteRegistry(file, { logger }, { signal });
  },

  async backup({ file }) {
    await copyFile(file, `${file}.backup`);
    return () => rename(`${file}.backup`, file);
  },

  async stop({ file }) {
    await rename(file, `${file}.away`);
    return () => rename(`${file}.away`, file);
  },
});

/** As an administrator with the sqlite3 program would. */
function edit(file: string, change: (db: DatabaseSync) => unknown): void {
  const db = new DatabaseSync(file, { timeout: 5_000 });
  try {
    db.exec("BEGIN IMMEDIATE");
    change(db);
    db.exec("COMMIT");
  } finally {
    db.close();
  }
}
