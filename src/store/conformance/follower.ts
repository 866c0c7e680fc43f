// For tests only.

/** Reads a watch in the background and keeps all it gives. */
export class Follower<Batch> implements AsyncDisposable {
  readonly #controller = new AbortController();
  readonly #batches: Batch[] = [];
  readonly #reading: Promise<void>;
  readonly #patience: number;
  #end: { readonly error: unknown } | undefined;
  #wake: () => void = () => {};

  /** @param patience how many milliseconds to wait for anything */
  constructor(watch: (signal: AbortSignal) => AsyncIterable<Batch>, patience: number) {
    this.#patience = patience;
    this.#reading = this.#read(watch(this.#controller.signal));
  }

  /** What has come so far. */
  get batches(): readonly Batch[] {
    return this.#batches;
  }

  /** All batches, as soon as they satisfy `condition`. @throws if the watch ends, or patience does */
  async until(condition: (batches: readonly Batch[]) => boolean): Promise<readonly Batch[]> {
    await this.#wait(() => this.#end !== undefined || condition(this.#batches));
    if (!condition(this.#batches)) throw this.#end?.error;
    return [...this.#batches];
  }

  /** What the watch throws. */
  async failure(): Promise<unknown> {
    await this.#wait(() => this.#end !== undefined);
    return this.#end?.error;
  }

  /** Aborts the watch and waits for its end. @throws if it ended with anything but the reason */
  async stop(): Promise<void> {
    const reason = new Error("enough");
    this.#controller.abort(reason);
    await this.#reading;
    if (this.#end?.error !== reason) throw this.#end?.error;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#controller.abort(new Error("the test is over"));
    await this.#reading;
  }

  async #read(watch: AsyncIterable<Batch>): Promise<void> {
    try {
      for await (const batch of watch) {
        this.#batches.push(batch);
        this.#wake();
      }
      this.#end = { error: new Error("the watch ended by itself") };
    } catch (error) {
      this.#end = { error };
    }
    this.#wake();
  }

  async #wait(over: () => boolean): Promise<void> {
    if (over()) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        const count = this.#batches.length;
        reject(new Error(`nothing came in ${this.#patience} ms; ${count} batches so far`));
      }, this.#patience);
      this.#wake = () => {
        if (!over()) return;
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
