/** Options of every call that may wait. Required between parts, so that a forgotten signal is a compile error. */
export interface Abortable {
  readonly signal: AbortSignal;
}
