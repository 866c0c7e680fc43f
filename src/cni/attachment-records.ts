import { existsSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { writeFileAtomicallySync } from "../lib/atomic-file-sync.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";
import type { DelegateConfig } from "./delegate-config.ts";
import type { Attachment } from "./environment.ts";
import { type JsonObject, parseJsonObject } from "./json-object.ts";

/** What was asked of the delegate for one interface of one container. */
export interface AttachmentRecord {
  readonly attachment: Attachment;
  readonly config: DelegateConfig;
}

/**
 * The name of nearly every pod's interface. Its record bears the container's ID alone, as in later releases of flannel, so that
 * one version deletes what the other added.
 */
const USUAL_IFNAME = "eth0";

/** In our records only: which interface it is for. The delegate does not see it. */
const IFNAME_KEY = "flannel/ifname";

/** Milliseconds after which a file that is being written is one that nobody writes any more. */
const ABANDONED = 3_600_000;

/** The data directory: a file for each attachment, that says what a DEL has to undo. */
export class AttachmentRecords {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** On disk when this returns, 0600: a config may hold secrets. @returns its path */
  write(attachment: Attachment, config: DelegateConfig): string {
    const path = this.#path(fileName(attachment));
    writeFileAtomicallySync(path, JSON.stringify({ ...config, [IFNAME_KEY]: attachment.ifname }), { mode: 0o600 });
    return path;
  }

  /** @throws {CniError} naming the file if it holds no config */
  read(attachment: Attachment): AttachmentRecord | undefined {
    const name = this.#fileOf(attachment);
    return name === undefined ? undefined : this.#load(name, attachment);
  }

  /** What is to be removed once nothing of it is left; it need not be there. */
  filesOf(attachment: Attachment): readonly string[] {
    return [...new Set([fileName(attachment), this.#fileOf(attachment) ?? fileName(attachment)])].map((name) =>
      this.#path(name),
    );
  }

  remove(attachment: Attachment): void {
    for (const path of this.filesOf(attachment)) rmSync(path, { force: true });
  }

  /** All that can be read, and what is wrong with the others. */
  list(): { readonly records: readonly AttachmentRecord[]; readonly errors: readonly CniError[] } {
    const records: AttachmentRecord[] = [];
    const errors: CniError[] = [];
    for (const name of this.#files()) {
      const [containerID = "", ifname = USUAL_IFNAME] = name.split(/@(.*)/s);
      try {
        const record = this.#load(name, { containerID, ifname });
        if (record !== undefined) records.push(record);
      } catch (error) {
        if (!(error instanceof CniError)) throw error;
        errors.push(error);
      }
    }
    return { records, errors };
  }

  /** What a plugin that was killed while it worked for this attachment left half written. */
  removeRemainsOf(attachment: Attachment): void {
    const starts = [attachment.containerID, fileName(attachment)].map((name) => `.${name}.`);
    for (const name of this.#entries()) {
      const start = starts.find((each) => name.startsWith(each));
      const pid = start === undefined ? undefined : /^(\d+)\.tmp$/.exec(name.slice(start.length))?.[1];
      if (pid !== undefined && !existsSync(`/proc/${pid}`)) rmSync(this.#path(name), { force: true });
    }
  }

  /** What a plugin that was killed left half written. @param now milliseconds since 1970 */
  removeAbandonedFiles(now: number): void {
    for (const name of this.#entries().filter((name) => /^\..*\.tmp$/.test(name))) {
      const stat = statSync(this.#path(name), { throwIfNoEntry: false });
      if (stat !== undefined && now - stat.mtimeMs > ABANDONED) rmSync(this.#path(name), { force: true });
    }
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }

  /** Its own, or one that an earlier flannel left, which kept one for all interfaces of a container. */
  #fileOf(attachment: Attachment): string | undefined {
    const { containerID } = attachment;
    const own = fileName(attachment);
    if (this.#text(own) !== undefined) return own;
    const shared = own === containerID ? undefined : this.#text(containerID);
    return shared === undefined || shared.includes(JSON.stringify(IFNAME_KEY)) ? undefined : containerID;
  }

  #load(name: string, attachment: Attachment): AttachmentRecord | undefined {
    const text = this.#text(name);
    if (text === undefined) return undefined;
    const path = this.#path(name);
    const { [IFNAME_KEY]: ifname, ...config } = parseJsonObject(text, path);
    if (!isDelegateConfig(config))
      throw new CniError(CNI_CODE.undecodable, `${path} is no plugin's config: it has no name or no type`);
    return { attachment: typeof ifname === "string" ? { ...attachment, ifname } : attachment, config };
  }

  #text(name: string): string | undefined {
    try {
      return readFileSync(this.#path(name), "utf8");
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  #files(): readonly string[] {
    return this.#entries().filter((name) => !name.startsWith("."));
  }

  #entries(): readonly string[] {
    try {
      return readdirSync(this.#directory);
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  }
}

function fileName({ containerID, ifname }: Attachment): string {
  return ifname === USUAL_IFNAME ? containerID : `${containerID}@${ifname}`; // no container's ID has an @
}

function isDelegateConfig(config: JsonObject): config is DelegateConfig {
  return typeof config["name"] === "string" && typeof config["type"] === "string";
}

/** Whether the file, or a directory on the way to it, is not there. */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
