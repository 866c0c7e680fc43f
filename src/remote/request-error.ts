/** A request that cannot be served, and what its sender is told: 0.7.0's status and text. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  readonly status: number;
  /** Tells our own clients what happened without their reading the text. */
  readonly code: string | undefined;

  constructor(status: number, text: string, code?: string, options?: ErrorOptions) {
    super(text, options);
    this.status = status;
    this.code = code;
  }
}
