import { once } from "node:events";
import type { Abortable } from "../lib/abortable.ts";
import type { Logger } from "../lib/logger.ts";
import type { FlanneldOptions } from "./flanneld-flags.ts";

/** Runs the daemon until the signal. */
export async function runFlanneld(
  options: FlanneldOptions,
  { signal, logger }: Abortable & { readonly logger: Logger },
): Promise<void> {
  logger.info("flanneld started", { store: options.store.kind, subnetFile: options.subnetFile });
  const keepAlive = setInterval(() => {}, 1 << 30);
  try {
    if (!signal.aborted) await once(signal, "abort");
  } finally {
    clearInterval(keepAlive);
  }
  logger.info("exiting", { reason: signal.reason });
}
