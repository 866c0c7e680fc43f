import { InvalidConfigError } from "../../lib/errors.ts";
import type { TlsFiles } from "../../lib/tls-source.ts";

/** The values of the `--etcd-*` flags, as they were given. */
export interface EtcdFlags {
  /** Comma-separated. */
  readonly endpoints: string;
  readonly prefix: string;
  readonly keyFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly caFile?: string | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
}

/** How to reach an etcd, checked. */
export interface EtcdOptions {
  /** Origins without a trailing slash, `http://127.0.0.1:2379`; at least one, none twice. */
  readonly endpoints: readonly string[];
  /** Clean path: `/coreos.com/network`. Without a leading slash if it was given so. */
  readonly prefix: string;
  readonly files: TlsFiles;
  readonly credentials?: EtcdCredentials;
}

export interface EtcdCredentials {
  readonly username: string;
  readonly password: string;
}

/** Reads nothing but the flags. @throws {InvalidConfigError} naming the flag, as `--etcd-endpoints` */
export function parseEtcdOptions(flags: EtcdFlags): EtcdOptions {
  const credentials = parseCredentials(flags.username || undefined, flags.password || undefined);
  return {
    endpoints: parseEndpoints(flags.endpoints),
    prefix: cleanPath(flags.prefix),
    files: parseFiles(flags),
    ...(credentials !== undefined && { credentials }),
  };
}

function parseEndpoints(text: string): readonly string[] {
  const endpoints = text.split(",").flatMap((part) => (part.trim() === "" ? [] : [parseEndpoint(part.trim())]));
  if (endpoints.length === 0)
    throw new InvalidConfigError("--etcd-endpoints", "names no endpoint, as http://127.0.0.1:2379");
  return [...new Set(endpoints)];
}

function parseEndpoint(text: string): string {
  const wrong = (reason: string) => new InvalidConfigError("--etcd-endpoints", `${JSON.stringify(text)} ${reason}`);
  if (!/^https?:\/\//i.test(text)) throw wrong("must begin with http:// or https://");
  if (!URL.canParse(text)) throw wrong("is not a URL, as http://127.0.0.1:2379");
  const url = new URL(text);
  if (url.username !== "" || url.password !== "")
    throw new InvalidConfigError("--etcd-endpoints", "must hold no password; use --etcd-username and --etcd-password");
  if (url.pathname !== "/" || url.search !== "" || url.hash !== "") throw wrong("must end after the port");
  return url.origin;
}

/** As Go's path.Join: one slash between segments, `.` and `..` resolved. A leading slash is kept, not added: in v3 it is part of the key. */
function cleanPath(path: string): string {
  const segments: string[] = [];
  for (const segment of path.split("/")) {
    if (segment === "..") segments.pop();
    else if (segment !== "" && segment !== ".") segments.push(segment);
  }
  return path.startsWith("/") || segments.length === 0 ? `/${segments.join("/")}` : segments.join("/");
}

function parseFiles({ keyFile, certFile, caFile }: EtcdFlags): TlsFiles {
  if (keyFile && !certFile)
    throw new InvalidConfigError("--etcd-certfile", `is missing, though --etcd-keyfile is ${keyFile}`);
  if (certFile && !keyFile)
    throw new InvalidConfigError("--etcd-keyfile", `is missing, though --etcd-certfile is ${certFile}`);
  return {
    ...(caFile && { ca: caFile }),
    ...(certFile && keyFile && { certificate: { cert: certFile, key: keyFile } }),
  };
}

function parseCredentials(username: string | undefined, password: string | undefined): EtcdCredentials | undefined {
  if (username === undefined) {
    if (password === undefined) return undefined;
    throw new InvalidConfigError("--etcd-username", "is missing, though --etcd-password is given");
  }
  if (username.includes(":"))
    throw new InvalidConfigError("--etcd-username", `must not contain a colon: ${JSON.stringify(username)}`);
  return { username, password: password ?? "" };
}
