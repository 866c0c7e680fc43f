import { InvalidConfigError } from "../lib/errors.ts";

/** Where a server listens: an address of this host, or a socket that the service manager opened. */
export type ListenAddress =
  | { readonly kind: "tcp"; readonly host: string | undefined; readonly port: number }
  | { readonly kind: "activated"; readonly number: number | undefined };

/**
 * `host:port`, `:port`, `[::1]:port`, `tcp://host:port`, `fd://` (the first inherited socket) or `fd://5` (file descriptor 5).
 * @throws {InvalidConfigError} naming `--listen`
 */
export function parseListenAddress(text: string): ListenAddress {
  const wrong = (reason: string) => new InvalidConfigError("--listen", `${JSON.stringify(text)}: ${reason}`);
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase() ?? "";
  const rest = scheme === "" ? text : text.slice(scheme.length + 3);
  if (scheme === "fd") {
    if (rest === "") return { kind: "activated", number: undefined };
    if (!/^\d{1,9}$/.test(rest)) throw wrong("fd index is not a number");
    return { kind: "activated", number: Number(rest) };
  }
  if (scheme !== "" && scheme !== "tcp")
    throw wrong("bad listener scheme; host:port, tcp://host:port, fd:// or fd://N");
  const parts = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(rest);
  if (parts === null) throw wrong("must be host:port, as 10.0.0.1:8888 or :8888");
  const port = Number(parts[3]);
  if (port > 65_535) throw wrong(`there is no port ${port}`);
  const host = parts[1] ?? parts[2] ?? "";
  return { kind: "tcp", host: host === "" ? undefined : host, port };
}
