import { CniError, formatCniError } from "./cni-error.ts";
import { delegateError } from "./delegate-error.ts";

/**
 * What the runtime is told of a delegate that failed after {@link handOver}.
 * @param args its path, how it ended, the version of CNI and a hint, as `hand-over.ts` gives them
 * @param output what it said, on our standard input
 */
export function explain(args: readonly string[], output: string): string {
  const [path = "", status = "", cniVersion = "", hint = ""] = args;
  const error = delegateError({ path, status: Number(status), output });
  const message = hint === "" ? error.message : `${error.message}; ${hint}`;
  return formatCniError(new CniError(error.code, message, error.details), cniVersion);
}
