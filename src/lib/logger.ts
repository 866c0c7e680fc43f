export type LogFields = Readonly<Record<string, unknown>>;

/**
 * Where facts for an operator go. The message is constant, values are fields.
 * error = needs a person; warn = we cope, but look; info = a handful per lease change; debug = per row.
 */
export interface Logger {
  /** Whether anything comes of `debug`: to be asked before thousands of lines are put into words. */
  readonly debugs: boolean;
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /** A logger that adds these fields to every line. */
  child(fields: LogFields): Logger;
}

/** Says nothing. */
export const silentLogger: Logger = {
  debugs: false,
  error() {},
  warn() {},
  info() {},
  debug() {},
  child: () => silentLogger,
};
