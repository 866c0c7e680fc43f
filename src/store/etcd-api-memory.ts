import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { writeFileAtomically } from "../lib/atomic-file.ts";
import { describeError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import type { EtcdApi } from "./etcd-api-choice.ts";

const Entry = v.object({ cluster: v.string(), prefix: v.string(), api: v.picklist([2, 3]) });
const File = v.object({ choices: v.array(Entry) });
type RememberedChoice = v.InferOutput<typeof Entry>;

/** The API that was chosen for each cluster and prefix, in `etcd-api.json` of the state directory. Without a directory nothing is remembered. */
export class EtcdApiMemory {
  readonly #directory: string | undefined;
  readonly #logger: Logger;

  constructor(directory: string | undefined, logger: Logger) {
    this.#directory = directory;
    this.#logger = logger;
  }

  /** The choices made for this prefix, whatever the cluster; none if the file makes no sense. */
  async recall(prefix: string): Promise<readonly RememberedChoice[]> {
    try {
      return (await this.#read()).filter((choice) => choice.prefix === prefix);
    } catch (error) {
      this.#logger.warn("the remembered choice of the etcd API makes no sense and is ignored", {
        error: describeError(error),
      });
      return [];
    }
  }

  /** That it cannot be written is no reason not to work: then the next start asks again. */
  async remember(choice: { readonly cluster: string; readonly prefix: string; readonly api: EtcdApi }): Promise<void> {
    if (this.#directory === undefined) return;
    const known = await this.#read().catch(() => []); // then it is written anew
    const others = known.filter(({ cluster, prefix }) => cluster !== choice.cluster || prefix !== choice.prefix);
    try {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      const text = `${JSON.stringify({ choices: [...others, choice] }, null, 2)}\n`;
      await writeFileAtomically(join(this.#directory, FILE_NAME), text, { mode: 0o600 });
    } catch (error) {
      this.#logger.warn("the choice of the etcd API could not be remembered", { error: describeError(error) });
    }
  }

  async #read(): Promise<readonly RememberedChoice[]> {
    if (this.#directory === undefined) return [];
    try {
      return v.parse(File, JSON.parse(await readFile(join(this.#directory, FILE_NAME), "utf8"))).choices;
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
      throw error;
    }
  }
}

const FILE_NAME = "etcd-api.json";
