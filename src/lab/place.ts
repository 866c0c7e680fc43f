import type { ChildProcess, SpawnOptions } from "node:child_process";
import type { Namespace } from "./namespace.ts";
import type { ExecuteOptions, ProgramResult } from "./program.ts";

interface PlaceOptions {
  readonly name: string;
  readonly title: string;
  readonly address: string;
  readonly ipv6?: string | undefined;
  readonly namespace: Namespace;
}

/** A host or a pod: somewhere that has an address and runs programs. */
export class Place {
  readonly name: string;
  /** Unique in the lab: `h1`, `h1/p1`. */
  readonly title: string;
  readonly address: string;
  /** Besides an IPv4 one. */
  readonly ipv6: string | undefined;
  readonly namespace: Namespace;

  constructor({ name, title, address, ipv6, namespace }: PlaceOptions) {
    this.name = name;
    this.title = title;
    this.address = address;
    this.ipv6 = ipv6;
    this.namespace = namespace;
  }

  /** Runs a program here to its end, whatever its exit code. */
  exec(argv: readonly string[], options?: Partial<ExecuteOptions>): Promise<ProgramResult> {
    return this.namespace.exec(argv, options);
  }

  /** As `exec()`. @returns its standard output @throws {ProgramFailedError} unless it exits with 0 */
  run(argv: readonly string[], options?: Partial<ExecuteOptions>): Promise<string> {
    return this.namespace.run(argv, options);
  }

  /** Starts a program here, which the lab ends when it goes down. */
  spawn(argv: readonly string[], options?: SpawnOptions): ChildProcess {
    return this.namespace.spawn(argv, options);
  }
}
