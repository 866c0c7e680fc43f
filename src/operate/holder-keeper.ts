import { closeSync, rmSync } from "node:fs";
import type { DescriptorKeeper } from "../kernel/descriptor-keeper.ts";
import { isAlive, type ProcessId } from "../kernel/process-id.ts";
import type { Abortable } from "../lib/abortable.ts";
import { sleepAwake } from "../lib/awake.ts";
import type { Clock, Milliseconds } from "../lib/clock.ts";
import { describeError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import { type HandoverRecord, ownProcessId, readHandoverRecord, writeHandoverRecord } from "./handover-record.ts";
import { FIRST_HELD, Holder } from "./holder.ts";

/** How long a daemon that has to end is waited for; it promises to take one second at most. */
const ENDING: Milliseconds = 2_000;

const LOSSY = "descriptors are not kept: a restart will lose packets";

/** Another process; the kernel room's. */
export interface OtherProcess extends Disposable {
  /** Whether it runs as the user that we run as. */
  readonly isOurs: boolean;
  /** @throws if it has none of this number, or does not give it to us */
  descriptor(number: number): number;
  kill(): void;
  /** Resolves when it has ended, descriptors and all. */
  ended(options: Abortable): Promise<void>;
}

export interface HolderKeeperOptions {
  /** Where the next daemon finds what this one left. */
  readonly record: string;
  /** How long descriptors are kept after the daemon's end; 0: not at all. */
  readonly timeout: Milliseconds;
  /** @returns undefined if it has ended */
  readonly openProcess: (id: ProcessId) => OtherProcess | undefined;
  /** Makes sure that a program that is started inherits nothing but what it is given. */
  readonly closeAllOnExec: () => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Keeps descriptors in a small process that outlives the daemon by a short time. */
export class HolderKeeper implements DescriptorKeeper {
  readonly #options: HolderKeeperOptions;
  #holder: Holder | undefined;
  #keeping: Promise<void> = Promise.resolve();
  readonly #disposal = new AbortController();

  constructor(options: HolderKeeperOptions) {
    this.#options = options;
  }

  async take(names: readonly string[], { signal }: Abortable): Promise<ReadonlyMap<string, number>> {
    await this.#keeping;
    const { record: path, logger } = this.#options;
    try {
      const record = readHandoverRecord(path);
      if (record === undefined || (await this.#isInUse(record, { signal }))) return new Map();
      using holder = isAlive(record.holder) ? this.#options.openProcess(record.holder) : undefined;
      if (holder === undefined) return new Map(); // its time was over
      if (!holder.isOurs) throw new Error("it is another user's");
      this.#claim(record);
      return await this.#takeFrom(holder, record, names, { signal });
    } catch (error) {
      signal.throwIfAborted();
      logger.warn("what the daemon before left cannot be taken over", { reason: describeError(error) });
      return new Map();
    }
  }

  async keep(descriptors: ReadonlyMap<string, number>, { signal }: Abortable): Promise<void> {
    const kept = this.#keeping.then(() => this.#keep(descriptors, { signal }));
    this.#keeping = kept.catch(() => {}); // the caller is told
    await kept;
  }

  /** Nobody else who starts now may take from the same holder. */
  #claim(record: HandoverRecord): void {
    try {
      writeHandoverRecord(this.#options.record, { ...record, daemon: ownProcessId() });
    } catch {
      // keep() will say so
    }
  }

  async #takeFrom(
    holder: OtherProcess,
    record: HandoverRecord,
    names: readonly string[],
    { signal }: Abortable,
  ): Promise<ReadonlyMap<string, number>> {
    const taken = new Map<string, number>();
    try {
      for (const [index, name] of record.names.entries())
        if (names.includes(name)) taken.set(name, holder.descriptor(FIRST_HELD + index));
    } catch (error) {
      for (const fd of taken.values()) closeSync(fd);
      await this.#end(holder, { signal }); // nobody can take from it, but it would keep a port busy
      throw error;
    }
    if (taken.size > 0)
      this.#options.logger.info("descriptors taken over from the daemon before", { names: [...taken.keys()] });
    return taken;
  }

  async #keep(descriptors: ReadonlyMap<string, number>, { signal }: Abortable): Promise<void> {
    const { record: path, timeout } = this.#options;
    try {
      const former = this.#readFormer();
      if (former !== undefined && (await this.#isInUse(former, { signal }))) return;
      using formerHolder = former && this.#options.openProcess(former.holder);
      const formerOwn = this.#holder;
      this.#holder = undefined; // its end is expected from here on
      try {
        if (descriptors.size > 0 && timeout > 0) await this.#hold(descriptors);
        else rmSync(path, { force: true });
      } finally {
        formerOwn?.end();
        if (formerHolder?.isOurs === true) await this.#end(formerHolder, { signal });
      }
    } catch (error) {
      signal.throwIfAborted();
      this.#options.logger.warn(LOSSY, { reason: describeError(error) });
    }
  }

  async #hold(descriptors: ReadonlyMap<string, number>): Promise<void> {
    const { record, timeout, logger, closeAllOnExec } = this.#options;
    closeAllOnExec();
    const holder = await Holder.start([...descriptors.values()], timeout);
    try {
      this.#tryOut(holder);
      holder.arm(); // before the record: one that names a holder which ends with us would hide the former, who has them still
      writeHandoverRecord(record, { holder: holder.id, daemon: ownProcessId(), names: [...descriptors.keys()] });
    } catch (error) {
      holder.end();
      rmSync(record, { force: true });
      throw error;
    }
    this.#holder = holder;
    void this.#watch(holder);
    logger.debug("descriptors are kept", { names: [...descriptors.keys()], pid: holder.id.pid });
  }

  async #watch(holder: Holder): Promise<void> {
    await holder.ended;
    if (this.#holder !== holder) return;
    this.#holder = undefined;
    const { clock, logger } = this.#options;
    try {
      await clock.sleep(ENDING, this.#disposal); // a service manager that stops us ends all that we started with us
    } catch {
      return;
    }
    if (this.#holder !== undefined) return;
    logger.warn(LOSSY, { reason: "somebody ended the process that keeps them", pid: holder.id.pid });
  }

  /** A holder that nobody can take from would only keep ports busy. @throws what keeps us from it */
  #tryOut({ id }: Holder): void {
    using other = this.#options.openProcess(id);
    if (other === undefined) throw new Error("the process that was to keep them ended at once");
    closeSync(other.descriptor(FIRST_HELD));
  }

  #readFormer(): HandoverRecord | undefined {
    try {
      return readHandoverRecord(this.#options.record);
    } catch {
      return undefined; // take() has said so; it is about to be written anew
    }
  }

  /** Whether they are those of another daemon that goes on living. */
  async #isInUse({ daemon }: HandoverRecord, { signal }: Abortable): Promise<boolean> {
    if (daemon.pid === process.pid) return false;
    using other = this.#options.openProcess(daemon);
    if (other === undefined || (await this.#endsSoon(other, { signal }))) return false;
    this.#options.logger.warn("another daemon with this state directory is running", { pid: daemon.pid });
    return true;
  }

  /** Resolves when its descriptors are closed, and so a port is free. */
  async #end(holder: OtherProcess, { signal }: Abortable): Promise<void> {
    holder.kill();
    await this.#endsSoon(holder, { signal });
  }

  async #endsSoon(other: OtherProcess, { signal }: Abortable): Promise<boolean> {
    const done = new AbortController();
    const either = { signal: AbortSignal.any([signal, done.signal]) };
    const ended = other.ended(either).then(() => true);
    const tooLate = sleepAwake(this.#options.clock, ENDING, either).then(() => false);
    try {
      return await Promise.race([ended, tooLate]);
    } finally {
      done.abort();
      await Promise.allSettled([ended, tooLate]);
    }
  }

  /** What is kept stays kept, for the time-out, which begins now. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposal.abort();
    await this.#keeping;
    const holder = this.#holder;
    this.#holder = undefined; // its end is expected
    holder?.release();
  }
}
