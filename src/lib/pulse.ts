/** What a loop shows of itself, so that somebody else can tell whether it is stuck. */
export interface Pulse {
  /** How many steps it has made; each takes seconds at most. */
  readonly steps: number;
  /** Whether there is something for it to do: a loop that rests is not stuck. */
  readonly isDue: boolean;
}
