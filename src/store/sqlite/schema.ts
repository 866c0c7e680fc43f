import type { DatabaseSync, StatementSync } from "node:sqlite";

/** `PRAGMA application_id` of our files: "flnl". */
export const APPLICATION_ID = 0x666c6e6c;

/** `PRAGMA user_version`: which of these tables a file has. */
export const SCHEMA_VERSION = 1;

/**
 * Keys and values are the texts that etcd would hold. A lease's end is kept twice: by the wall clock in milliseconds, and by
 * the clock that counts from boot together with the number of that boot. Both are null in a reservation.
 * `change` is what watchers read; changes up to `store.pruned` are gone from it.
 */
export const SCHEMA = `
  CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    history TEXT NOT NULL,
    revision INTEGER NOT NULL,
    pruned INTEGER NOT NULL
  );
  CREATE TABLE boot (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
  CREATE TABLE config (network TEXT PRIMARY KEY, text TEXT NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE lease (
    network TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    revision INTEGER NOT NULL,
    expires INTEGER,
    boot INTEGER,
    uptime INTEGER,
    PRIMARY KEY (network, key)
  ) WITHOUT ROWID;
  CREATE TABLE change (
    revision INTEGER PRIMARY KEY,
    network TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT,
    expires INTEGER,
    boot INTEGER,
    uptime INTEGER
  );
  PRAGMA application_id = ${APPLICATION_ID};
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

export interface StoreRow {
  readonly history: string;
  readonly revision: number;
  readonly pruned: number;
}

/** When a lease ends; see SCHEMA. */
export interface EndRow {
  readonly expires: number | null;
  readonly boot: number | null;
  readonly uptime: number | null;
}

export interface LeaseRow extends EndRow {
  readonly key: string;
  readonly value: string;
  readonly revision: number;
}

export interface ChangeRow extends EndRow {
  readonly revision: number;
  readonly key: string;
  /** null: the lease was removed. */
  readonly value: string | null;
}

export type Statements = ReturnType<typeof prepareStatements>;

/** Every statement of the registry, prepared once for each connection. */
export function prepareStatements(db: DatabaseSync) {
  return {
    store: query<StoreRow>(db, "SELECT history, revision, pruned FROM store"),
    nextRevision: query<{ readonly revision: number }>(
      db,
      "UPDATE store SET revision = revision + 1 RETURNING revision",
    ),
    setHistory: command(db, "UPDATE store SET history = :history"),
    setPruned: command(db, "UPDATE store SET pruned = :pruned"),
    boot: query<{ readonly number: number }>(db, "SELECT number FROM boot WHERE id = :id"),
    addBoot: command(db, "INSERT INTO boot (id) VALUES (:id)"),
    config: query<{ readonly text: string; readonly revision: number }>(
      db,
      "SELECT text, revision FROM config WHERE network = :network",
    ),
    networks: query<{ readonly network: string }>(
      db,
      "SELECT network FROM config WHERE network <> '' ORDER BY network",
    ),
    setConfig: command(
      db,
      "INSERT OR REPLACE INTO config (network, text, revision) VALUES (:network, :text, :revision)",
    ),
    leases: query<LeaseRow>(
      db,
      "SELECT key, value, revision, expires, boot, uptime FROM lease WHERE network = :network",
    ),
    lease: query<LeaseRow>(
      db,
      "SELECT key, value, revision, expires, boot, uptime FROM lease WHERE network = :network AND key = :key",
    ),
    leaseIn: query<LeaseRow>(
      db,
      `SELECT key, value, revision, expires, boot, uptime FROM lease
       WHERE network = :network AND key >= :first AND key < :end ORDER BY key LIMIT 1`,
    ),
    setLease: command(
      db,
      `INSERT OR REPLACE INTO lease (network, key, value, revision, expires, boot, uptime)
       VALUES (:network, :key, :value, :revision, :expires, :boot, :uptime)`,
    ),
    removeLease: command(db, "DELETE FROM lease WHERE network = :network AND key = :key"),
    changes: query<ChangeRow>(
      db,
      `SELECT revision, key, value, expires, boot, uptime FROM change
       WHERE revision > :since AND revision <= :until AND network = :network ORDER BY revision`,
    ),
    addChange: command(
      db,
      `INSERT INTO change (revision, network, key, value, expires, boot, uptime)
       VALUES (:revision, :network, :key, :value, :expires, :boot, :uptime)`,
    ),
    pruneChanges: command(db, "DELETE FROM change WHERE revision <= :pruned"),
    earliestEnd: query<{ readonly remaining: number | null }>(
      db,
      `SELECT min(CASE WHEN boot = :boot THEN uptime - :uptime ELSE expires - :now END) AS remaining
       FROM lease WHERE expires IS NOT NULL`,
    ),
    ended: query<{ readonly network: string; readonly key: string }>(
      db,
      `SELECT network, key FROM lease
       WHERE expires IS NOT NULL AND CASE WHEN boot = :boot THEN uptime <= :uptime ELSE expires <= :now END
       LIMIT :limit`,
    ),
  };
}

type Parameters = Readonly<Record<string, string | number | null>>;

interface Query<Row> {
  get(parameters?: Parameters): Row | undefined;
  all(parameters?: Parameters): readonly Row[];
}

function query<Row>(db: DatabaseSync, sql: string): Query<Row> {
  const statement = db.prepare(sql);
  return {
    get: (parameters = {}) => statement.get({ ...parameters }) as Row | undefined,
    all: (parameters = {}) => statement.all({ ...parameters }) as unknown as readonly Row[],
  };
}

function command(db: DatabaseSync, sql: string): (parameters: Parameters) => void {
  const statement: StatementSync = db.prepare(sql);
  return (parameters) => {
    statement.run({ ...parameters });
  };
}
