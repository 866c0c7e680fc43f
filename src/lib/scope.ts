/**
 * Background tasks with an owner: the first that fails ends the others, and none outlives the scope.
 *
 *     await using scope = new Scope(signal);
 *     scope.spawn((signal) => watch({ signal }));
 *     await scope.join();
 */
export class Scope implements AsyncDisposable {
  readonly #controller = new AbortController();
  readonly #tasks = new Set<Promise<void>>();
  readonly #parent: AbortSignal | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(parent?: AbortSignal) {
    this.#parent = parent;
    if (parent?.aborted) this.#controller.abort(parent.reason);
    else parent?.addEventListener("abort", this.#onParentAbort, { once: true });
  }

  readonly #onParentAbort = () => this.#controller.abort(this.#parent?.reason);

  /** Aborts when the scope ends for whatever reason. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Starts a task. A rejection after the scope was asked to stop is its normal end. */
  spawn(task: (signal: AbortSignal) => Promise<void>): void {
    const running = (async () => {
      try {
        await task(this.signal);
      } catch (error) {
        if (this.signal.aborted) return;
        this.#failure = { error };
        this.#controller.abort(error);
      }
    })();
    this.#tasks.add(running);
    void running.finally(() => this.#tasks.delete(running));
  }

  /** Asks every task to stop. */
  cancel(reason?: unknown): void {
    this.#controller.abort(reason);
  }

  /** Resolves when every task has ended. @throws what the first failing task threw, or the parent's reason if it was aborted */
  async join(): Promise<void> {
    while (this.#tasks.size > 0) await Promise.all(this.#tasks);
    if (this.#failure !== undefined) throw this.#failure.error;
    this.#parent?.throwIfAborted();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#parent?.removeEventListener("abort", this.#onParentAbort);
    this.#controller.abort();
    while (this.#tasks.size > 0) await Promise.all(this.#tasks);
  }
}
