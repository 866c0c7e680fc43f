/** CNI specification 1.1, section 2 "Error" and STATUS; from 100 on they are a plugin's own. */
export const CNI_CODE = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  io: 5,
  undecodable: 6,
  invalidConfig: 7,
  tryAgainLater: 11,
  /** STATUS: an ADD would fail. */
  notAvailable: 50,
  /** STATUS: an ADD would fail, and pods that are there may be cut off. */
  notAvailableLimited: 51,
  /** Ours: the plugin that `delegate` names is not installed. */
  delegateMissing: 100,
  /** Ours: that plugin failed without saying why in a way that CNI knows. */
  delegateFailed: 101,
  /** Ours: the pod has an address of a subnet that this host no longer holds. */
  subnetChanged: 102,
} as const;

/** What a runtime is told instead of a result. */
export class CniError extends Error {
  override readonly name = "CniError";
  readonly code: number;
  /** More for a person to read; absent if the message says it all. */
  readonly details: string | undefined;

  constructor(code: number, message: string, details?: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.details = details;
  }
}

/** Whatever was thrown as an error that CNI knows: what the file system refuses is {@link CNI_CODE.io}; a bug shows its stack, too. */
export function asCniError(error: unknown): CniError {
  if (error instanceof CniError) return error;
  if (!(error instanceof Error)) return new CniError(CNI_CODE.io, String(error));
  const details = "syscall" in error ? undefined : error.stack;
  return new CniError(CNI_CODE.io, error.message, details, { cause: error });
}

/** The object that goes to standard output. */
export function formatCniError(error: CniError, cniVersion: string): string {
  const { code, message: msg, details } = error;
  return `${JSON.stringify({ cniVersion, code, msg, ...(details === undefined ? {} : { details }) }, undefined, 2)}\n`;
}
