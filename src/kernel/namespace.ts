import { closeSync, openSync } from "node:fs";
import { CLONE_NEWNET, setns } from "./libc.ts";

/**
 * Runs `action` in a network namespace. What it does must be synchronous: the thread is back before anything else runs on it.
 * @param path such as `/run/netns/red`; undefined is where we are
 */
export function inNamespace<T>(path: string | undefined, action: () => T): T {
  if (path === undefined) return action();
  const home = openSync("/proc/thread-self/ns/net", "r");
  try {
    const away = openSync(path, "r");
    try {
      setns(away, CLONE_NEWNET);
    } finally {
      closeSync(away);
    }
    try {
      return action();
    } finally {
      setns(home, CLONE_NEWNET);
    }
  } finally {
    closeSync(home);
  }
}
