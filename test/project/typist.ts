import type { Service } from "../../src/lab/service.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import type { OwnFiles } from "../support/own-files.ts";

const { signal } = new AbortController();
/** What daemons do takes a moment. */
export const PATIENCE = 60_000;

export interface Command {
  readonly text: string;
  /** As the document shows it; empty where it shows none. */
  readonly output: string;
}

export type Block = readonly Command[];

function commandsOf(text: string): Block {
  return text
    .split(/^\$ /m)
    .slice(1)
    .map((piece) => {
      const [first = "", ...others] = piece.trimEnd().split("\n");
      return { text: first, output: others.join("\n") };
    });
}

/** What a reader is to type, block by block. */
export function blocksOf(document: string): readonly Block[] {
  return [...document.matchAll(/^```console\n(.*?)^```$/gms)].map(([, block = ""]) => commandsOf(block));
}

/** Without what is another at each run: subnets, which rows are in the order of, times, and the columns that a terminal makes of it. */
export function lasting(output: string): string {
  return output
    .replaceAll(/\b10\.5\.\d+\.0\/24\b/g, "10.5.N.0/24")
    .replaceAll(/\bin \d+h \d+m\b/g, "in N")
    .replaceAll(/^W\d{4} [\d:.]+ +\d+ /gm, "W ")
    .replaceAll(/ +/g, " ") // before the order of the rows is taken, which the width of a column is not to change
    .split("\n")
    .toSorted()
    .join(" ")
    .trim();
}

/** Types commands on a host, and compares what they print with what the document shows. */
export class Typist {
  readonly #files: OwnFiles;
  readonly #daemons: Service[] = [];

  constructor(files: OwnFiles) {
    this.#files = files;
  }

  /**
   * @param tellsReady whether its flanneld does
   * @returns the last flanneld that was started here
   */
  async type(commands: Block | undefined, { tellsReady = true } = {}): Promise<Service | undefined> {
    if (commands === undefined) throw new Error("the document has fewer commands");
    for (const { text, output } of commands) {
      if (text.startsWith("flanneld ")) {
        const daemon = await this.#files.start(`${this.#files.host.name}-${this.#daemons.length}`, text);
        this.#daemons.push(daemon);
        if (tellsReady) await daemon.ready();
      } else if (output === "") await this.#files.run(text);
      else await this.#untilItPrints(text, output);
    }
    return this.#daemons.at(-1);
  }

  /** Ends what was started here, the last first. */
  async stop(): Promise<void> {
    for (const daemon of this.#daemons.splice(0).toReversed()) await daemon.stop();
  }

  async #untilItPrints(command: string, shown: string): Promise<void> {
    let printed = "";
    const isAsShown = async () => {
      printed = await this.#files.run(command);
      return lasting(printed) === lasting(shown);
    };
    try {
      await waitUntil(isAsShown, { signal, within: PATIENCE, every: 100, what: command });
    } catch (error) {
      throw new Error(`${command} printed\n${printed}\nand is shown with\n${shown}`, { cause: error });
    }
  }
}
