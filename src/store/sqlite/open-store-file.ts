import type { Abortable } from "../../lib/abortable.ts";
import { bootId as currentBootId } from "../../lib/boot-id.ts";
import { type Clock, systemClock } from "../../lib/clock.ts";
import type { Logger } from "../../lib/logger.ts";
import { type FileSystemType, requireLocalFileSystem } from "./file-system.ts";
import { StoreFile } from "./store-file.ts";

export interface OpenStoreFileOptions {
  readonly clock?: Clock;
  readonly logger: Logger;
  /** Whether to make the file if there is none; true for a daemon. */
  readonly create?: boolean;
  /** Names this boot of this machine. */
  readonly bootId?: string;
  readonly fileSystemType?: FileSystemType;
}

/** @throws {UnsupportedError} if the file cannot be used, saying why; {StoreUnavailableError} if that may pass */
export async function openStoreFile(
  file: string,
  options: OpenStoreFileOptions,
  { signal }: Abortable,
): Promise<StoreFile> {
  const { clock = systemClock, logger, create = true, bootId = currentBootId() } = options;
  requireLocalFileSystem(file, options.fileSystemType);
  return await StoreFile.open(file, { clock, logger, create, bootId }, { signal });
}
