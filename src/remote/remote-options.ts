import { InvalidConfigError } from "../lib/errors.ts";
import type { TlsFiles } from "../lib/tls-source.ts";

/** How to reach flannel servers, checked. */
export interface RemoteOptions {
  /** Origins, `http://10.0.0.1:8888`; at least one, none twice. All serve one store. */
  readonly endpoints: readonly string[];
  readonly files: TlsFiles;
}

/** The values of the `--remote-*` flags that name files. */
export interface RemoteFileFlags {
  readonly keyFile: string;
  readonly certFile: string;
  readonly caFile: string;
  readonly crlFile: string;
}

/** @throws {InvalidConfigError} naming the flag that is missing */
export function parseRemoteFiles({ keyFile, certFile, caFile, crlFile }: RemoteFileFlags): TlsFiles {
  if (keyFile !== "" && certFile === "")
    throw new InvalidConfigError("--remote-certfile", `is missing, though --remote-keyfile is ${keyFile}`);
  if (certFile !== "" && keyFile === "")
    throw new InvalidConfigError("--remote-keyfile", `is missing, though --remote-certfile is ${certFile}`);
  if (crlFile !== "" && caFile === "")
    throw new InvalidConfigError("--remote-cafile", `is missing, though --remote-crlfile is ${crlFile}`);
  return {
    ...(caFile !== "" && { ca: caFile }),
    ...(certFile !== "" && { certificate: { cert: certFile, key: keyFile } }),
    ...(crlFile !== "" && { crl: crlFile }),
  };
}

/** @param text comma-separated `host:port`. @throws {InvalidConfigError} naming `--remote` */
export function parseRemoteEndpoints(text: string, files: TlsFiles): readonly string[] {
  const scheme = Object.keys(files).length > 0 ? "https" : "http"; // as 0.7.0 decides it
  const endpoints = text.split(",").flatMap((part) => (part.trim() === "" ? [] : [parseEndpoint(part.trim(), scheme)]));
  if (endpoints.length === 0) throw new InvalidConfigError("--remote", "names no server, as 10.0.0.1:8888");
  return [...new Set(endpoints)];
}

function parseEndpoint(text: string, scheme: string): string {
  const wrong = (reason: string) => new InvalidConfigError("--remote", `${JSON.stringify(text)} ${reason}`);
  const given = /^([a-z]+):\/\//i.exec(text)?.[1]?.toLowerCase();
  if (given !== undefined && given !== "http" && given !== "https") throw wrong("is not host:port, as 10.0.0.1:8888");
  if (given !== undefined && given !== scheme)
    throw wrong(
      scheme === "https" ? "must not be http:// if a TLS file is given" : "needs one of the --remote-…file flags",
    );
  const address = given === undefined ? text : text.slice(given.length + 3).replace(/\/$/, "");
  if (!/^(\[[^\]]+\]|[^:[\]/]+):\d{1,5}$/.test(address)) throw wrong("is not host:port, as 10.0.0.1:8888");
  const url = `${scheme}://${address}`;
  if (!URL.canParse(url)) throw wrong("is not host:port, as 10.0.0.1:8888");
  const { host, hostname, port } = new URL(url);
  return `${scheme}://${port === "" ? `${hostname}:${scheme === "https" ? 443 : 80}` : host}`;
}
