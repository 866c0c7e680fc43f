import { closeSync, openSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { type CniError, formatCniError } from "./cni-error.ts";
import { lockFile } from "./container-lock.ts";
import type { DelegateConfig } from "./delegate-config.ts";
import type { Variables } from "./environment.ts";

/** All that is left to do when everything is decided. */
export interface HandOver {
  readonly path: string;
  readonly config: DelegateConfig;
  readonly variables: Variables;
  readonly containerID: string;
  /** It is locked, and scratch files are written, in here. */
  readonly dataDir: string;
  /** What the runtime is told if another operation on the container takes too long. */
  readonly busy: CniError;
  /** A file that must be there once the container is ours, and what the runtime is told if it is not. */
  readonly required?: { readonly file: string; readonly missing: CniError };
  /** Taken away once the delegate has succeeded. Undefined: what it says is a result, and passed on. */
  readonly obsolete?: readonly string[];
  /** A sentence for a person in case the delegate fails. */
  readonly hint: string | undefined;
}

/** Seconds an operation waits for another on the same container. A runtime's own patience is two to four minutes. */
export const PATIENCE = 60;

/** The first argument of the program when it is to say why a delegate failed; see `explain.ts`. */
export const EXPLAIN = "--explain";

/**
 * What a shell does in Node's place: to start a program costs it a fifth of what it costs Node, which is large. The delegate's config is
 * standard input throughout. One result or error goes to standard output.
 */
const SCRIPT = `
lock=$1 required=$2 busy=$3 missing=$4 delegate=$5 node=$6 program=$7 version=$8 hint=$9
shift 9
exec 9>>"$lock"
if command -v flock >/dev/null; then
  flock -w ${PATIENCE} 9 || { printf %s "$busy"; exit 1; }
fi
if [ -n "$required" ] && [ ! -e "$required" ]; then printf %s "$missing"; exit 1; fi
output=$("$delegate"; status=$?; printf x; exit $status)
status=$?
output=\${output%x}
if [ $status = 0 ]; then
  if [ $# != 0 ]; then rm -f -- "$@"; exit; fi
  case \${output#"\${output%%[![:space:]]*}"} in
    {*) printf %s "$output"; exit ;;
  esac
fi
printf %s "$output" | "$node" "$program" ${EXPLAIN} "$delegate" $status "$version" "$hint"
exit 1
`;

/** Becomes the delegate, under the container's lock; what it answers is the answer. Does not return. */
export function handOver(work: HandOver, cniVersion: string): never {
  const { path, config, variables, containerID, dataDir, busy, required, obsolete = [], hint = "" } = work;
  becomeStandardInput(JSON.stringify(config), join(dataDir, `.${containerID}.${process.pid}.tmp`));
  const text = (error: CniError | undefined) => (error === undefined ? "" : formatCniError(error, cniVersion));
  const parameters = [
    lockFile(dataDir, containerID),
    required?.file ?? "",
    text(busy),
    text(required?.missing),
    path,
    process.execPath,
    process.argv[1] ?? "",
    cniVersion,
    hint,
  ];
  return process.execve?.(
    "/bin/sh",
    ["flannel", "-c", SCRIPT, "flannel", ...parameters, ...obsolete],
    variables as NodeJS.ProcessEnv,
  ) as never;
}

/** The lowest free descriptor is the next one; a file without a name is gone with the last process that has it open. */
function becomeStandardInput(text: string, scratch: string): void {
  closeSync(0);
  const descriptor = openSync(scratch, "wx+", 0o600);
  unlinkSync(scratch);
  if (descriptor !== 0) throw new Error(`standard input cannot be replaced: descriptor ${descriptor}`);
  const bytes = Buffer.from(text);
  for (let written = 0; written < bytes.length; )
    written += writeSync(0, bytes, written, bytes.length - written, written); // at a position: whoever reads begins at 0
}
