import { randomUUID } from "node:crypto";
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { StoreRefusedError, StoreUnavailableError } from "../../lease/errors.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { type BackoffRange, backoff } from "../../lib/backoff.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import { InvalidConfigError, UnsupportedError } from "../../lib/errors.ts";
import type { Logger } from "../../lib/logger.ts";
import { announce } from "./change-signal.ts";
import { APPLICATION_ID, prepareStatements, SCHEMA, SCHEMA_VERSION, type Statements } from "./schema.ts";
import { explainSqliteError, isBusy, isSqliteError } from "./sqlite-error.ts";
import { WriteQueue } from "./write-queue.ts";

export interface StoreFileOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Names this boot of this machine; /proc/sys/kernel/random/boot_id. */
  readonly bootId: string;
  /** Whether to make the file, and its directory, if there is none. */
  readonly create: boolean;
}

/** How long a call goes on trying to get at a file that other processes are using. */
const PATIENCE: Milliseconds = 5_000;

/**
 * How long a file that we did not make may be empty before it counts as a new one: `cp` of a backup empties what it writes over. Others
 * that have made a file fill it within milliseconds.
 */
const EMPTY_FOR: Milliseconds = 1_000;

/** When to try again: others' transactions take about a millisecond. */
const RETRY: BackoffRange = { first: 1, most: 8 };

/**
 * How long SQLite itself may wait, and with it this whole process. A commit that waits for readers keeps new ones away
 * meanwhile, so it soon succeeds; giving up at once would let readers starve it.
 */
const BUSY_TIMEOUT: Milliseconds = 4;

/**
 * The file and this process's connection to it. Transactions are synchronous and so must be small; waiting for other
 * processes is not.
 *
 * The file is kept in rollback-journal mode and not as a write-ahead log: with a log of its own beside it, a file that an
 * administrator replaces or overwrites with a backup would be mixed with the log of the former one.
 */
export class StoreFile implements Disposable {
  readonly path: string;
  readonly #options: StoreFileOptions;
  readonly #closing = new AbortController();
  readonly #writes: WriteQueue<Connection>;
  /** Whether we have made the file, and nobody has had it yet. */
  #isNew = false;
  #emptySince: Milliseconds | undefined;
  #connection: Connection | undefined;

  private constructor(path: string, options: StoreFileOptions) {
    this.path = path;
    this.#options = options;
    this.#writes = new WriteQueue(async (change) => {
      const attempt = (connection: Connection) => transact(connection.db, "BEGIN IMMEDIATE", () => change(connection));
      const result = await this.#insist(attempt, this.#closing);
      announce(path);
      return result;
    }, isSqliteError);
  }

  /** @throws {UnsupportedError} saying why the file cannot be used, {StoreUnavailableError} if that may pass */
  static async open(path: string, options: StoreFileOptions, { signal }: Abortable): Promise<StoreFile> {
    const file = new StoreFile(path, options);
    try {
      if (options.create) file.#isNew = createFile(path);
      else if (!existsSync(path)) throw new InvalidConfigError("--embedded-store", `there is no file ${path}`);
      await file.read(() => undefined, { signal });
      return file;
    } catch (error) {
      file[Symbol.dispose]();
      if (!(error instanceof Error) || !("code" in error) || !FILE_ERRORS.has(String(error.code))) throw error;
      throw new UnsupportedError("embedded-store", `--embedded-store: ${error.message}`, undefined, { cause: error });
    }
  }

  /** Runs `query` on a consistent state of the file; it may run several times. */
  async read<T>(query: (statements: Statements, boot: number) => T, options: Abortable): Promise<T> {
    const attempt = ({ db, statements, boot }: Connection) => transact(db, "BEGIN", () => query(statements, boot));
    return await this.#insist(attempt, options);
  }

  /**
   * Runs `change` in a durable transaction, perhaps together with others. It may run several times, and must throw, if at all,
   * before it has changed anything.
   */
  async write<T>(change: (statements: Statements, boot: number) => T, options: Abortable): Promise<T> {
    return await this.#writes.write(({ statements, boot }) => change(statements, boot), options);
  }

  /** The whole file as it is between two writes. */
  async copy(options: Abortable): Promise<StoreCopy> {
    const count = (db: DatabaseSync, table: "config" | "lease") =>
      Number(db.prepare(`SELECT count(*) AS count FROM ${table}`).get()?.["count"]);
    const attempt = ({ db, statements }: Connection): StoreCopy =>
      transact(db, "BEGIN", () => ({
        networks: count(db, "config"), // from here on nobody can write
        leases: count(db, "lease"),
        revision: BigInt(statements.store.get()?.revision ?? 0),
        bytes: db.serialize(),
      }));
    return await this.#insist(attempt, options);
  }

  [Symbol.dispose](): void {
    this.#closing.abort(new StoreUnavailableError(this.path, "it was closed"));
    this.#close();
  }

  async #insist<T>(attempt: (connection: Connection) => T, { signal }: Abortable): Promise<T> {
    const { clock } = this.#options;
    const end = clock.now() + PATIENCE;
    for (let failures = 1; ; failures++) {
      signal.throwIfAborted();
      this.#closing.signal.throwIfAborted();
      try {
        return attempt(this.#connect());
      } catch (error) {
        if (!isBusy(error) && !(error instanceof EmptyFileError)) throw explainSqliteError(this.path, error);
        if (clock.now() >= end)
          throw new StoreUnavailableError(this.path, "another process is keeping it locked", { cause: error });
      }
      await clock.sleep(backoff(failures, RETRY) * (0.5 + Math.random()), { signal });
    }
  }

  /** The connection to the file that is at `path` now. */
  #connect(): Connection {
    const status = statSync(this.path, { bigint: true, throwIfNoEntry: false });
    if (status === undefined) throw new StoreUnavailableError(this.path, "the file is gone");
    const identity = `${status.dev}:${status.ino}`;
    if (this.#connection?.identity === identity) return this.#connection;
    if (this.#connection !== undefined) {
      this.#options.logger.warn("the embedded store was replaced by another file", { file: this.path });
      this.#close();
    }
    if (status.size === 0n && !this.#isNew) this.#requireEmptiness();
    this.#emptySince = undefined;
    this.#connection = connect(this.path, identity, this.#options.bootId);
    this.#isNew = false;
    return this.#connection;
  }

  /** @throws {EmptyFileError} until the file has been empty for long enough to be a new one */
  #requireEmptiness(): void {
    const now = this.#options.clock.now();
    this.#emptySince ??= now;
    if (now - this.#emptySince < EMPTY_FOR) throw new EmptyFileError();
  }

  #close(): void {
    this.#connection?.db.close();
    this.#connection = undefined;
  }
}

/** What a copy holds, and the copy. */
export interface StoreCopy {
  readonly networks: number;
  /** Reservations among them. */
  readonly leases: number;
  readonly revision: bigint;
  readonly bytes: Uint8Array;
}

/** Somebody may be about to write it. */
class EmptyFileError extends Error {}

interface Connection {
  readonly identity: string;
  readonly db: DatabaseSync;
  readonly statements: Statements;
  /** The number of this boot in the file. */
  readonly boot: number;
}

const FILE_ERRORS: ReadonlySet<string> = new Set([
  "EACCES",
  "EISDIR",
  "ENOTDIR",
  "EPERM",
  "EROFS",
  "ENOSPC",
  "store-refused",
]);

/**
 * The directory 0700 and the file 0600, unless they are there; never opens a file that is, since closing it would release SQLite's locks.
 * @returns whether it has made the file
 */
function createFile(path: string): boolean {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  try {
    closeSync(openSync(path, "wx", 0o600));
    chmodSync(path, 0o600);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return false;
  }
}

function connect(path: string, identity: string, bootId: string): Connection {
  const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT, enableForeignKeyConstraints: false });
  try {
    db.exec(
      "PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = FULL; PRAGMA cache_size = -1024; PRAGMA trusted_schema = OFF",
    );
    if (!isOurs(path, db)) transact(db, "BEGIN IMMEDIATE", () => initialize(path, db));
    const statements = prepareStatements(db);
    const boot =
      statements.boot.get({ id: bootId }) ??
      transact(db, "BEGIN IMMEDIATE", () => {
        const known = statements.boot.get({ id: bootId });
        if (known !== undefined) return known;
        statements.addBoot({ id: bootId });
        return statements.boot.get({ id: bootId });
      });
    if (boot === undefined) throw new Error(`${path} does not keep the number of this boot`);
    return { identity, db, statements, boot: boot.number };
  } catch (error) {
    db.close();
    throw error;
  }
}

/** False if the file is empty. @throws {StoreRefusedError} if it is somebody else's or too new */
function isOurs(path: string, db: DatabaseSync): boolean {
  const number = (name: string) => Number(Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0]);
  const application = number("application_id");
  const version = number("user_version");
  if (application === APPLICATION_ID && version === SCHEMA_VERSION) return true;
  if (application === APPLICATION_ID)
    throw new StoreRefusedError(
      path,
      `made by a newer flannel: it has schema ${version}, and this one knows ${SCHEMA_VERSION}; upgrade this one, or name another file`,
    );
  const tables = Number(db.prepare("SELECT count(*) AS count FROM sqlite_schema").get()?.["count"]);
  if (application === 0 && version === 0 && tables === 0) return false;
  throw new StoreRefusedError(path, "an SQLite database, but not of flannel; name another file");
}

function initialize(path: string, db: DatabaseSync): void {
  if (isOurs(path, db)) return; // another process was first
  db.exec(SCHEMA);
  db.prepare("INSERT INTO store (id, history, revision, pruned) VALUES (1, ?, 0, 0)").run(randomUUID());
}

function transact<T>(db: DatabaseSync, begin: "BEGIN" | "BEGIN IMMEDIATE", body: () => T): T {
  db.exec(begin);
  try {
    const result = body();
    db.exec("COMMIT");
    return result;
  } catch (error) {
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}
