import type { ChildProcess, SpawnOptions } from "node:child_process";
import type { Abortable } from "../lib/abortable.ts";
import { type ExecuteOptions, execute, type ProgramResult, run, signalGroup, startProgram } from "./program.ts";

/** Where ip(8) keeps the names of network namespaces. */
export const NAMESPACE_DIRECTORY = "/run/netns";

/** Several `ip` commands at once, in the machine's own namespace; the first that fails ends it. */
export async function ipBatch(lines: readonly string[], options: ExecuteOptions): Promise<void> {
  if (lines.length === 0) return;
  await run(["ip", "-batch", "-"], { ...options, input: `${lines.join("\n")}\n` });
}

/** How long what belongs to a lab may go on. */
export interface LabLife extends Abortable {
  /** Ends every wait that has no signal of its own. */
  readonly signal: AbortSignal;
  /** Ends every program that was started. */
  readonly ending: AbortSignal;
}

/** A network namespace by name; making and removing it is the lab's. */
export class Namespace {
  readonly name: string;
  readonly #life: LabLife;

  constructor(name: string, life: LabLife) {
    this.name = name;
    this.#life = life;
  }

  get path(): string {
    return `${NAMESPACE_DIRECTORY}/${this.name}`;
  }

  #inside(argv: readonly string[]): readonly string[] {
    return ["ip", "netns", "exec", this.name, ...argv];
  }

  /** Runs a program in here to its end, whatever its exit code. */
  exec(argv: readonly string[], options: Partial<ExecuteOptions> = {}): Promise<ProgramResult> {
    return execute(this.#inside(argv), { signal: this.#life.signal, ...options });
  }

  /** As `exec()`. @returns its standard output @throws {ProgramFailedError} unless it exits with 0 */
  run(argv: readonly string[], options: Partial<ExecuteOptions> = {}): Promise<string> {
    return run(this.#inside(argv), { signal: this.#life.signal, ...options });
  }

  /** Starts a program in here; its pid is the program's own, since ip(8) becomes it. It ends with the lab at the latest. */
  spawn(argv: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const { ending } = this.#life;
    ending.throwIfAborted();
    const child = startProgram(this.#inside(argv), options);
    // It may not be inside yet, and so not be found there when the lab goes down.
    const onEnding = () => signalGroup(child, "SIGTERM");
    ending.addEventListener("abort", onEnding, { once: true });
    child.once("exit", () => ending.removeEventListener("abort", onEnding));
    return child;
  }

  /** Several `ip` commands at once in here, each without the word `ip`. */
  async ip(lines: readonly string[]): Promise<void> {
    await run(["ip", "-n", this.name, "-batch", "-"], { signal: this.#life.signal, input: `${lines.join("\n")}\n` });
  }

  /** Sets sysctls of the network to one value; names as in `net/ipv4/ip_forward`. */
  async sysctl(value: string | number, ...names: readonly string[]): Promise<void> {
    await this.run(["tee", ...names.map((name) => `/proc/sys/${name}`)], { input: `${value}\n` });
  }
}
