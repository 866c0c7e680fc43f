import type { Abortable } from "../lib/abortable.ts";
import type { Milliseconds } from "../lib/clock.ts";
import type { Plan, RowFailure, Table } from "./table.ts";

/** A row for tests: `10.1.2.0/24` and where it leads. */
export interface FakeRow {
  readonly key: string;
  readonly value: string;
}

export function fakeRow(key: string, value = "a"): FakeRow {
  return { key, value };
}

/** What a table was asked to do. */
export type FakeCall =
  | { readonly type: "list" }
  | { readonly type: "apply"; readonly puts: readonly string[]; readonly removals: readonly string[] };

export interface FakeTableOptions {
  readonly rows?: readonly FakeRow[];
  readonly journal?: string[];
  readonly resyncEvery?: Milliseconds;
}

/** A table in memory with all that can go wrong with one. Rows read `key=value`. */
export class FakeTable implements Table<FakeRow> {
  readonly name: string;
  /** What was asked, in order; several tables may share one journal. */
  readonly calls: FakeCall[] = [];
  /** Why all listings fail. */
  listError: Error | undefined;
  /** Why whole batches fail, and after how many rows. */
  applyError: { readonly error: Error; readonly afterRows: number } | undefined;
  /** Awaited in the middle of each call, so that a test can do something then. */
  pause: (call: FakeCall) => Promise<void> = async () => {};
  readonly resyncEvery?: Milliseconds;
  steps = 0;
  readonly #rows: Map<string, FakeRow>;
  readonly #rowErrors = new Map<string, Error>();
  readonly #watchers = new Set<() => void>();
  readonly #journal: string[] | undefined;

  constructor(name = "fake", options: FakeTableOptions = {}) {
    this.name = name;
    if (options.resyncEvery !== undefined) this.resyncEvery = options.resyncEvery;
    this.#rows = new Map(options.rows?.map((row) => [row.key, row]));
    this.#journal = options.journal;
  }

  key(row: FakeRow): string {
    return row.key;
  }

  equal(desired: FakeRow, actual: FakeRow): boolean {
    return desired.key === actual.key && desired.value === actual.value;
  }

  format(row: FakeRow): string {
    return `${row.key}=${row.value}`;
  }

  async list({ signal }: Abortable): Promise<readonly FakeRow[]> {
    await this.#called({ type: "list" }, signal);
    if (this.listError !== undefined) throw this.listError;
    return [...this.#rows.values()].map((row) => ({ ...row }));
  }

  async apply({ puts, removals }: Plan<FakeRow>, { signal }: Abortable): Promise<readonly RowFailure<FakeRow>[]> {
    const text = (rows: readonly FakeRow[]) => rows.map((row) => this.format(row));
    await this.#called({ type: "apply", puts: text(puts), removals: text(removals) }, signal);
    const failures: RowFailure<FakeRow>[] = [];
    let done = 0;
    for (const [rows, isPut] of [[puts, true] as const, [removals, false] as const])
      for (const row of rows) {
        if (this.applyError?.afterRows === done++) throw this.applyError.error;
        const error = this.#rowErrors.get(row.key);
        if (error !== undefined) failures.push({ row, error });
        else this.#write(row, isPut);
      }
    return failures;
  }

  watch(onChange: () => void): Disposable {
    this.#watchers.add(onChange);
    return { [Symbol.dispose]: () => this.#watchers.delete(onChange) };
  }

  /** How many are told of changes. */
  get watchers(): number {
    return this.#watchers.size;
  }

  /** What the table holds, as text in order. */
  get contents(): readonly string[] {
    return [...this.#rows.values()].map((row) => this.format(row)).toSorted();
  }

  get listings(): number {
    return this.calls.filter(({ type }) => type === "list").length;
  }

  /** The batches applied since `forgetCalls()`. */
  get batches(): readonly Extract<FakeCall, { type: "apply" }>[] {
    return this.calls.filter((call) => call.type === "apply");
  }

  forgetCalls(): void {
    this.calls.length = 0;
  }

  /** Somebody else writes a row. */
  putByHand(row: FakeRow): void {
    this.#rows.set(row.key, row);
    this.notify();
  }

  /** Somebody else removes rows, all if none is named. */
  removeByHand(...keys: readonly string[]): void {
    for (const key of keys.length === 0 ? [...this.#rows.keys()] : keys) this.#rows.delete(key);
    this.notify();
  }

  /** Somebody else did something. */
  notify(): void {
    for (const onChange of this.#watchers) onChange();
  }

  /** From now on this row can be neither put nor removed; with no error it can again. */
  failRow(key: string, error: Error | undefined): void {
    if (error === undefined) this.#rowErrors.delete(key);
    else this.#rowErrors.set(key, error);
  }

  async #called(call: FakeCall, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.calls.push(call);
    if (call.type === "list") this.#journal?.push(`list ${this.name}`);
    await this.pause(call);
    signal.throwIfAborted();
  }

  #write(row: FakeRow, isPut: boolean): void {
    this.#journal?.push(`${isPut ? "put" : "remove"} ${this.name} ${this.format(row)}`);
    if (isPut) this.#rows.set(row.key, { ...row });
    else this.#rows.delete(row.key);
  }
}
