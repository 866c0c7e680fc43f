import { constants } from "node:os";
import { CNI_CODE, CniError } from "./cni-error.ts";
import { isJsonObject, shorten } from "./json-object.ts";

/** How a delegate ended without success. */
export interface DelegateFailure {
  readonly path: string;
  /** As a shell has it: 128 + the signal's number for one that was killed; 0 for one that succeeded, but not with a result. */
  readonly status: number;
  readonly output: string;
}

/** The delegate's own code, message and details if it gave them as CNI wants, its name before the message; else how it ended. */
export function delegateError({ path, status, output }: DelegateFailure): CniError {
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (status === 0) {
    const message = `the result of ${name} is not a JSON object: ${JSON.stringify(shorten(output))}`;
    return new CniError(CNI_CODE.undecodable, message);
  }
  const said = shorten(output);
  const message = `${path} ended ${describeEnd(status)} and did not say why; see its standard error`;
  return ownError(name, output) ?? new CniError(CNI_CODE.delegateFailed, message, said === "" ? undefined : said);
}

function ownError(name: string, output: string): CniError | undefined {
  let value: unknown;
  try {
    value = JSON.parse(output);
  } catch {
    return undefined;
  }
  if (!isJsonObject(value) || typeof value["msg"] !== "string") return undefined;
  const { code, msg, details } = value;
  return new CniError(
    typeof code === "number" && Number.isSafeInteger(code) && code > 0 ? code : CNI_CODE.delegateFailed,
    `${name}: ${msg}`,
    typeof details === "string" && details !== "" ? details : undefined,
  );
}

function describeEnd(status: number): string {
  const signal = Object.entries(constants.signals).find(([, number]) => number === status - 128);
  return signal === undefined ? `with exit code ${status}` : `by ${signal[0]}`;
}
