import type { ArgumentsCamelCase } from "yargs";
import { InterruptedError, interruptible } from "../../lab/interrupt.ts";
import {
  ConfigNotFoundError,
  LeaseLostError,
  LeaseTakenError,
  StoreRefusedError,
  StoreUnavailableError,
} from "../../lease/errors.ts";
import type { Administration } from "../../lease/subnet-manager.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { systemClock } from "../../lib/clock.ts";
import { describeError, InvalidConfigError, UnsupportedError } from "../../lib/errors.ts";
import type { Logger } from "../../lib/logger.ts";
import { ConfigConflictError } from "../../store/registry.ts";
import type { EtcdStoreOptions, RemoteStoreOptions } from "../flanneld-store-flags.ts";
import { openLogger } from "../log.ts";
import { readStoreOptions, type StoreArguments } from "./store-options.ts";

/** Arguments that make no sense: exit code 2, as for unknown options. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The command cannot be done; the message says all there is to say. Exit code 1. */
export class CommandError extends Error {
  override readonly name = "CommandError";
}

/** What a command works with. */
export interface StoreSession {
  readonly store: Administration;
  /** For messages: `etcd v2 at http://127.0.0.1:2379`. */
  readonly storeName: string;
}

export interface CommandContext extends Abortable {
  /** Opens the store for one step, which may not take longer than a person waits. @param create whether to make an embedded store that is not there */
  readonly withStore: <T>(
    create: boolean,
    step: (session: StoreSession, options: Abortable) => Promise<T>,
  ) => Promise<T>;
}

/** How long a store may take to answer one step of a command. */
const PATIENCE = 15_000;

/** Runs a command, says on standard error what went wrong and leaves the exit code: 1, or 2 if the arguments make no sense. */
export async function runStoreCommand(
  args: ArgumentsCamelCase<StoreArguments>,
  body: (context: CommandContext) => Promise<void>,
): Promise<void> {
  try {
    await interruptible(async (signal) => {
      const withStore: CommandContext["withStore"] = (create, step) => openStore(args, { signal, create }, step);
      await body({ signal, withStore });
    });
  } catch (error) {
    failed(error);
  }
}

/** Says on standard error what went wrong, with the stack only if the mistake is ours, and leaves the exit code. */
export function failed(error: unknown): void {
  process.exitCode = error instanceof InterruptedError ? error.exitCode : error instanceof UsageError ? 2 : 1;
  const text = isExpected(error) || !(error instanceof Error) ? describeError(error) : (error.stack ?? String(error));
  process.stderr.write(`flannel: ${text}\n`);
}

async function openStore<T>(
  args: ArgumentsCamelCase<StoreArguments>,
  { signal, create }: Abortable & { readonly create: boolean },
  step: (session: StoreSession, options: Abortable) => Promise<T>,
): Promise<T> {
  const { openStore: open } = await import("../open-store.ts");
  const { store: options, stateDir } = readStoreOptions(args, process.env);
  const timeout = AbortSignal.timeout(PATIENCE);
  const bounded = AbortSignal.any([signal, timeout]);
  const logger = warningsOnly(await openLogger({ format: "text", verbosity: 0 }, "flannel"));
  try {
    const { manager, name } = await open(options, {
      stateDir,
      networks: [args.network],
      create,
      clock: systemClock,
      logger,
      signal: bounded,
    });
    await using store = manager;
    return await step({ store, storeName: name }, { signal: bounded });
  } catch (error) {
    if (!timeout.aborted || signal.aborted) throw error;
    const where = options.kind === "embedded" ? options.file : endpointsOf(options).join(", ");
    throw new StoreUnavailableError(where, `no answer within ${PATIENCE / 1000} s`);
  }
}

function endpointsOf(options: EtcdStoreOptions | RemoteStoreOptions): readonly string[] {
  return options.kind === "etcd" ? options.etcd.endpoints : options.remote.endpoints;
}

/** A command's output says what it did; only what needs attention is said besides. */
function warningsOnly(logger: Logger): Logger {
  return { ...logger, debugs: false, info() {}, debug() {}, child: (fields) => warningsOnly(logger.child(fields)) };
}

const EXPECTED = [
  UsageError,
  CommandError,
  InvalidConfigError,
  UnsupportedError,
  ConfigNotFoundError,
  ConfigConflictError,
  LeaseLostError,
  LeaseTakenError,
  StoreRefusedError,
  StoreUnavailableError,
  InterruptedError,
];

function isExpected(error: unknown): boolean {
  return EXPECTED.some((kind) => error instanceof kind) || (error instanceof Error && "syscall" in error);
}
