import { statSync } from "node:fs";
import type { Abortable } from "../../lib/abortable.ts";
import { writeFileAtomically } from "../../lib/atomic-file.ts";
import { describeError, InvalidConfigError } from "../../lib/errors.ts";
import type { Logger } from "../../lib/logger.ts";
import { openStoreFile } from "./open-store-file.ts";
import type { StoreCopy } from "./store-file.ts";

/**
 * Writes a copy of a store that may be in use, which is whole whatever is being written meanwhile, and replaces what is at `target`.
 * @throws {UnsupportedError}, {StoreUnavailableError} as opening it does; {InvalidConfigError} if `target` is the store or cannot be written
 */
export async function backUpStore(
  file: string,
  target: string,
  { logger }: { readonly logger: Logger },
  { signal }: Abortable,
): Promise<Omit<StoreCopy, "bytes">> {
  using source = await openStoreFile(file, { logger, create: false }, { signal });
  const { bytes, ...held } = await source.copy({ signal });
  const [from, to] = [file, target].map((path) => statSync(path, { throwIfNoEntry: false }));
  if (from !== undefined && from.dev === to?.dev && from.ino === to.ino)
    throw new InvalidConfigError("FILE", `${target} is the store itself`);
  try {
    await writeFileAtomically(target, bytes, { mode: 0o600 });
  } catch (error) {
    throw new InvalidConfigError("FILE", describeError(error), { cause: error });
  }
  return held;
}
