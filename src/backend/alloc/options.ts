/** alloc has no options. */
export type AllocOptions = Readonly<Record<string, never>>;

export function parseAllocOptions(): AllocOptions {
  return {};
}
