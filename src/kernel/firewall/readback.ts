/**
 * What programs make of our rules: releases of a program may list a rule in other words than we wrote it, and such a rule must not be
 * taken for a changed one and be written again and again. Looking costs a program, so it is done when something has to be written twice.
 */
export class Readback {
  readonly #written = new Map<string, string>();
  readonly #seen = new Map<string, { readonly wanted: string; readonly listed: string }>();

  /** To be told of every write. @returns whether the same was written before, so that `read` should be told how it is listed now */
  wrote(key: string, wanted: readonly string[]): boolean {
    const again = this.#written.get(key) === text(wanted);
    this.#written.set(key, text(wanted));
    return again;
  }

  /** Right after a write. Another number of lines is no other wording, but somebody else's doing. */
  read(key: string, wanted: readonly string[], listed: readonly string[]): void {
    if (wanted.length === listed.length) this.#seen.set(key, { wanted: text(wanted), listed: text(listed) });
  }

  equal(key: string, wanted: readonly string[], listed: readonly string[]): boolean {
    if (wanted.length !== listed.length) return false;
    const [a, b] = [text(wanted), text(listed)];
    if (a === b) return true;
    const seen = this.#seen.get(key);
    return seen?.wanted === a && seen.listed === b;
  }
}

function text(lines: readonly string[]): string {
  return lines.join("\n");
}
