import { StoreRefusedError, StoreUnavailableError } from "../../lease/errors.ts";

/** Primary result codes, https://www.sqlite.org/rescode.html. */
const SQLITE = {
  perm: 3,
  busy: 5,
  locked: 6,
  readonly: 8,
  ioerr: 10,
  corrupt: 11,
  full: 13,
  cantopen: 14,
  notadb: 26,
} as const;

interface SqliteError extends Error {
  readonly code: "ERR_SQLITE_ERROR";
  /** Extended result code; its low byte is the primary one. */
  readonly errcode: number;
}

export function isSqliteError(error: unknown): error is SqliteError {
  return error instanceof Error && "code" in error && error.code === "ERR_SQLITE_ERROR" && "errcode" in error;
}

/** Whether another process has the file locked; worth another attempt. */
export function isBusy(error: unknown): boolean {
  if (!isSqliteError(error)) return false;
  const code = error.errcode & 0xff;
  return code === SQLITE.busy || code === SQLITE.locked;
}

/** What an error of SQLite means to whoever runs flannel; any other error as it is. */
export function explainSqliteError(file: string, error: unknown): unknown {
  if (!isSqliteError(error)) return error;
  const refused = (reason: string) => new StoreRefusedError(file, reason, { cause: error });
  const unavailable = (reason: string) => new StoreUnavailableError(file, reason, { cause: error });
  switch (error.errcode & 0xff) {
    case SQLITE.notadb:
      return refused("the file is not an SQLite database; it is left as it is");
    case SQLITE.corrupt:
      return refused("the database is damaged; it is left as it is, restore it from a backup");
    case SQLITE.readonly:
    case SQLITE.perm:
      return refused("the file or its directory may not be written");
    case SQLITE.cantopen:
      return refused("the file or its journal beside it cannot be opened; check the permissions");
    case SQLITE.full:
      return unavailable("the disk is full");
    case SQLITE.ioerr:
      return unavailable("reading or writing the disk failed");
    default:
      return unavailable("SQLite failed");
  }
}
