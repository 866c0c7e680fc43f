/** Takes whole lines; a log must never be the reason that the program stops. */
export type WriteLine = (line: string) => void;

/** What a logger of either format is made of. */
export interface LoggerParts {
  /** 0: information and above; more: everything. */
  readonly verbosity: number;
  readonly write: WriteLine;
  /** Which part speaks, unless a field `component` says so. */
  readonly component: string;
}
