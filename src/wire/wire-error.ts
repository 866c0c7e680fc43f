/** Bytes that are not what their format says: too short, or a length that leads outside. */
export class WireError extends Error {
  override readonly name = "WireError";
  readonly code = "wire";
}
