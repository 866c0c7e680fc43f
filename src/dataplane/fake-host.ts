import type { Milliseconds } from "../lib/clock.ts";
import { FakeClock } from "../lib/fake-clock.ts";
import { RecordingLogger } from "../lib/recording-logger.ts";
import { Dataplane, type Demand } from "./dataplane.ts";
import { type FakeRow, FakeTable } from "./fake-table.ts";
import { type Layer, layer } from "./table.ts";

/** A dataplane that runs on fake tables and a fake clock until it is disposed of. */
export class FakeHost implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly logger = new RecordingLogger();
  readonly dataplane = new Dataplane({ clock: this.clock, logger: this.logger });
  /** What was listed, put and removed, over all tables. */
  readonly journal: string[] = [];
  readonly #controller = new AbortController();
  readonly #running: Promise<unknown>;

  constructor() {
    this.#running = this.dataplane.run({ signal: this.#controller.signal }).catch((error: unknown) => error);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  table(name: string, rows: readonly FakeRow[] = []): FakeTable {
    return new FakeTable(name, { rows, journal: this.journal });
  }

  /** Wants these rows and waits until they have been tried. */
  async want(
    layers: readonly (readonly [FakeTable, readonly FakeRow[]])[],
    { spareUnknown }: Pick<Demand, "spareUnknown"> = { spareUnknown: false },
  ): Promise<void> {
    this.dataplane.want(() => ({ layers: layers.map(([table, rows]) => layer(table, rows)), spareUnknown }));
    await this.passes(0);
  }

  /** Wants them before anything else happens. */
  declare(...layers: readonly Layer[]): void {
    this.dataplane.want(() => ({ layers, spareUnknown: true }));
  }

  /** Waits for both. @returns which have resolved */
  waiting(): { readonly attempted: boolean; readonly settled: boolean } {
    const state = { attempted: false, settled: false };
    const wait = async (name: "attempted" | "settled") => {
      await this.dataplane[name](this);
      state[name] = true;
    };
    wait("attempted").catch(() => {});
    wait("settled").catch(() => {});
    return state;
  }

  /** Lets this time pass. */
  async passes(span: Milliseconds): Promise<void> {
    await this.clock.advance(span);
  }

  /** Ends the loop. @returns what `run()` rejected with */
  async stop(reason: unknown = new Error("the test is over")): Promise<unknown> {
    this.#controller.abort(reason);
    return await this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
