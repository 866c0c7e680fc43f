import type { Service } from "../../src/lab/service.ts";

/**
 * A service's host has no such programs, wherever the PATH would find them: in its own view of the files something stands in their place that
 * cannot be run. To be told before it starts. ip(8) gives each program that it starts in a namespace a view of its own.
 */
export function withoutPrograms(service: Service, names: readonly string[]): void {
  const hide = names.map(
    (name) => `for p in $(which -a ${name}); do mount --bind /dev/null "$(readlink -f "$p")" || exit 1; done;`,
  );
  service.argv = ["sh", "-c", `${hide.join(" ")} exec "$@"`, "sh", ...service.argv];
}
