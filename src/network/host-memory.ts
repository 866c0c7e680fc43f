import type { Notes } from "../lib/notes.ts";
import type { HostState, HostStateFile } from "./host-state.ts";

/** What this host knows from earlier and must know again after a restart. Changes count at once and reach the disk one after the other. */
export class HostMemory {
  readonly #file: HostStateFile;
  #state: HostState;
  #writing: Promise<void> = Promise.resolve();

  private constructor(file: HostStateFile, state: HostState) {
    this.#file = file;
    this.#state = state;
  }

  static async open(file: HostStateFile): Promise<HostMemory> {
    return new HostMemory(file, await file.read());
  }

  get state(): HostState {
    return this.#state;
  }

  /** For the backend. */
  readonly notes: Notes = {
    get: (name) => this.#state.notes?.[name],
    set: (name, text) => void this.remember({ notes: { ...this.#state.notes, [name]: text } }),
  };

  /** Resolves when it is on disk; never rejects. */
  remember(news: Partial<HostState>): Promise<void> {
    this.#state = { ...this.#state, ...news };
    this.#writing = this.#writing.then(() => this.#file.write(this.#state));
    return this.#writing;
  }

  /** Resolves when all that was remembered is on disk; never rejects. */
  async flush(): Promise<void> {
    await this.#writing;
  }
}
