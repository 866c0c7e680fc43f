import { UnsupportedError } from "../lib/errors.ts";
import { programPath } from "./program.ts";
import type { StoreKind } from "./record.ts";

/** Fails before anything is made if this machine or user cannot run a lab. @throws {UnsupportedError} saying how to get what is missing */
export function requireForLab(store: StoreKind): void {
  requireRoot();
  for (const program of ["ip", "ping", ...(store.startsWith("etcd") ? ["etcd", "etcdctl"] : [])]) programPath(program);
}

/** @throws {UnsupportedError} */
export function requireRoot(): void {
  if (process.getuid?.() !== 0)
    throw new UnsupportedError(
      "network namespaces",
      "a lab needs root to make network namespaces",
      "try again with sudo",
    );
}
