/** Thrown inside to become a RowFailure. */
export class Refusal extends Error {
  readonly errno: number;

  constructor(errno: number, reason: string) {
    super(reason);
    this.errno = errno;
  }
}
