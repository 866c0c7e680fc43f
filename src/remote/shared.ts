/** One piece of work for all who ask at the same time. Nobody is given a result that was begun before they asked. */
export class Shared<T> {
  readonly #work: () => Promise<T>;
  #running: Promise<unknown> = Promise.resolve();
  #next: Promise<T> | undefined;

  constructor(work: () => Promise<T>) {
    this.#work = work;
  }

  get(): Promise<T> {
    this.#next ??= this.#start();
    return this.#next;
  }

  async #start(): Promise<T> {
    await this.#running.catch(() => {}); // its own callers hear of it
    this.#next = undefined;
    const work = this.#work();
    this.#running = work;
    return await work;
  }
}
