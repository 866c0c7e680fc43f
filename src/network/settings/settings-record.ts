import { chmod, mkdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import * as v from "valibot";
import { writeFileAtomically } from "../../lib/atomic-file.ts";
import { bootId } from "../../lib/boot-id.ts";
import { describeError } from "../../lib/errors.ts";
import type { Logger } from "../../lib/logger.ts";

/** A value under `/proc/sys` that was changed, or that the kernel changed along with such a one. */
export interface ChangedSetting {
  readonly key: string;
  /** As it was before. */
  readonly found: string;
  /** What it was set to; undefined for one that the kernel took along. */
  readonly set?: string | undefined;
}

const FILE = "sysctls.json";

/** Such a file is never read as one that tells where to write: only what is below `net`. */
const Key = v.pipe(
  v.string(),
  v.regex(/^net\/[^\s]+$/),
  v.check((key) => !key.split("/").some((part) => part === "" || part === "." || part === ".."), "leads elsewhere"),
);
const Value = v.pipe(v.string(), v.maxLength(200), v.regex(/^[^\n]*$/));
const StoredSettings = v.object({
  boot: v.string(),
  changed: v.array(v.object({ key: Key, found: Value, set: v.optional(Value) })),
});

/** What of this host's settings was changed since it booted, so that it can be put back. Of all networks of a state directory. */
export class SettingsRecord {
  readonly path: string;
  readonly #changed = new Map<string, ChangedSetting>();
  #writing: Promise<void> = Promise.resolve();

  private constructor(path: string, changed: readonly ChangedSetting[]) {
    this.path = path;
    for (const each of changed) this.#changed.set(each.key, each);
  }

  /** What was changed in an earlier boot is no more. @throws {Error} if the file is there and makes no sense */
  static async open(stateDir: string): Promise<SettingsRecord> {
    const path = join(stateDir, FILE);
    return new SettingsRecord(path, await read(path));
  }

  static empty(stateDir: string): SettingsRecord {
    return new SettingsRecord(join(stateDir, FILE), []);
  }

  /** In the order in which it was changed. */
  get changed(): readonly ChangedSetting[] {
    return [...this.#changed.values()];
  }

  has(key: string): boolean {
    return this.#changed.has(key);
  }

  /** To be called, and waited for, before anything is changed; what is known already keeps what was found first. @throws what the file system throws */
  async remember(changes: readonly ChangedSetting[]): Promise<void> {
    const write = this.#addTo(this.#writing, changes);
    this.#writing = write.catch(() => {});
    await write;
  }

  /** One after the other, since several networks write. */
  async #addTo(former: Promise<void>, changes: readonly ChangedSetting[]): Promise<void> {
    await former;
    const news = changes.filter(({ key }) => !this.#changed.has(key));
    if (news.length === 0) return;
    await this.#write([...this.#changed.values(), ...news]);
    for (const each of news) this.#changed.set(each.key, each);
  }

  /** All was put back. */
  async forget(): Promise<void> {
    this.#changed.clear();
    await rm(this.path, { force: true });
  }

  async #write(changed: readonly ChangedSetting[]): Promise<void> {
    const stored: v.InferInput<typeof StoredSettings> = {
      boot: bootId(),
      changed: changed.map((each) => ({ ...each })),
    };
    await mkdir(dirname(this.path), { recursive: true, mode: 0o700 });
    await chmod(dirname(this.path), 0o700);
    await writeFileAtomically(this.path, `${JSON.stringify(stored, undefined, 2)}\n`, { mode: 0o600 });
  }
}

async function read(path: string): Promise<readonly ChangedSetting[]> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
  try {
    const { boot, changed } = v.parse(StoredSettings, JSON.parse(text));
    return boot === bootId() ? changed : [];
  } catch (cause) {
    throw new Error(`${path}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** The record for a daemon: one that makes no sense is told, and begun anew. */
export async function openSettingsRecord(stateDir: string, logger: Logger): Promise<SettingsRecord> {
  try {
    return await SettingsRecord.open(stateDir);
  } catch (error) {
    logger.error("it is not known any more which settings of this host were changed", { reason: describeError(error) });
    return SettingsRecord.empty(stateDir);
  }
}
