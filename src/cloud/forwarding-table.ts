import type { Plan, RowFailure, Table } from "../dataplane/table.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Milliseconds } from "../lib/clock.ts";
import type { ForwardingRow } from "./cloud.ts";
import { eachRow } from "./each-row.ts";
import type { Pace } from "./pace.ts";

/** What a cloud must do so that an instance's leave to forward is a table. */
export interface ForwardingApi {
  /** For logs: `source/destination check of eni-0a1b2c3d`. */
  readonly name: string;
  /** Grows with every request that is sent. */
  readonly steps: number;
  /** Undefined if we are not allowed to see it. */
  isOn(options: Abortable): Promise<boolean | undefined>;
  /** @throws what a person has to do */
  turnOn(options: Abortable): Promise<void>;
}

/** One row: whether this instance may forward. Where that cannot be seen, it is made so. */
export class ForwardingTable implements Table<ForwardingRow> {
  readonly name: string;
  readonly resyncEvery: Milliseconds;
  readonly longestRetry: Milliseconds;
  readonly #api: ForwardingApi;
  readonly #instance: string;

  constructor(api: ForwardingApi, instance: string, { resyncEvery, longestRetry }: Pace) {
    this.#api = api;
    this.#instance = instance;
    this.name = api.name;
    this.resyncEvery = resyncEvery;
    this.longestRetry = longestRetry;
  }

  get steps(): number {
    return this.#api.steps;
  }

  key({ instance }: ForwardingRow): string {
    return instance;
  }

  equal(desired: ForwardingRow, actual: ForwardingRow): boolean {
    return desired.isOn === actual.isOn;
  }

  format({ instance, isOn }: ForwardingRow): string {
    return `${instance} ${isOn ? "may forward" : "may not forward"}`;
  }

  async list(options: Abortable): Promise<readonly ForwardingRow[]> {
    options.signal.throwIfAborted();
    const isOn = await this.#api.isOn(options);
    return isOn === undefined ? [] : [{ instance: this.#instance, isOn }];
  }

  /** It is never turned off: others may rely on it. */
  async apply({ puts }: Plan<ForwardingRow>, options: Abortable): Promise<readonly RowFailure<ForwardingRow>[]> {
    options.signal.throwIfAborted();
    return await eachRow(puts, () => this.#api.turnOn(options), options);
  }
}
