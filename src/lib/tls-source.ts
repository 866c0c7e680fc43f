import { readFileSync, statSync } from "node:fs";
import { describeError, InvalidConfigError } from "./errors.ts";

/** Paths. The certificate and its key come together or not at all; a CA may come alone. */
export interface TlsFiles {
  readonly ca?: string;
  readonly certificate?: { readonly cert: string; readonly key: string };
  /** Revocation lists. */
  readonly crl?: string;
}

/** The flags that name the files, for messages: `--etcd-cafile`. */
export interface TlsFlags {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly crl?: string;
}

/** PEM texts, ready for node:tls, node:https or node:http2. Without a `ca` the system's authorities are trusted. */
export interface TlsMaterial {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
  readonly crl?: Buffer;
}

/** The TLS files, read again when one of them was changed: certificates are rotated under running daemons. */
export class TlsSource {
  readonly #files: TlsFiles;
  readonly #flags: TlsFlags;
  #loaded: { readonly stamp: string; readonly material: TlsMaterial } | undefined;

  constructor(files: TlsFiles, flags: TlsFlags) {
    this.#files = files;
    this.#flags = flags;
  }

  /**
   * Call for each new connection; the same object as long as no file has changed.
   * @throws {InvalidConfigError} naming the flag whose file cannot be read or used
   */
  load(): TlsMaterial {
    const { ca, certificate, crl } = this.#files;
    const stamp = [
      fileStamp(this.#flags.ca, ca),
      fileStamp(this.#flags.cert, certificate?.cert),
      fileStamp(this.#flags.key, certificate?.key),
      fileStamp(this.#flags.crl ?? "", crl),
    ].join();
    if (this.#loaded?.stamp !== stamp) this.#loaded = { stamp, material: this.#read() };
    return this.#loaded.material;
  }

  #read(): TlsMaterial {
    const { ca, certificate, crl } = this.#files;
    const flags = this.#flags;
    const authority = ca === undefined ? {} : { ca: readPem(flags.ca, ca) };
    check(flags.ca, authority);
    const revoked = crl === undefined ? {} : { crl: readPem(flags.crl ?? "", crl) };
    check(flags.crl ?? "", revoked);
    if (certificate === undefined) return { ...authority, ...revoked };
    const cert = { cert: readPem(flags.cert, certificate.cert) };
    const pair = { ...cert, key: readPem(flags.key, certificate.key) };
    check(flags.cert, cert);
    check(flags.key, pair);
    return { ...authority, ...revoked, ...pair };
  }
}

function check(flag: string, material: TlsMaterial): void {
  try {
    process.getBuiltinModule("node:tls").createSecureContext(material); // an import would load it also where no TLS is used
  } catch (error) {
    throw new InvalidConfigError(flag, `its file cannot be used: ${describeError(error)}`, { cause: error });
  }
}

function readPem(flag: string, path: string): Buffer {
  const pem = attempt(flag, () => readFileSync(path));
  // OpenSSL takes a file without any certificate for an empty list, and would then trust nobody without saying why.
  if (!pem.includes("-----BEGIN ")) throw new InvalidConfigError(flag, `${path} is not in PEM form`);
  return pem;
}

function fileStamp(flag: string, path: string | undefined): string {
  if (path === undefined) return "";
  const { ino, size, mtimeNs, ctimeNs } = attempt(flag, () => statSync(path, { bigint: true }));
  return `${ino}/${size}/${mtimeNs}/${ctimeNs}`;
}

function attempt<T>(flag: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new InvalidConfigError(flag, `cannot be read: ${describeError(error)}`, { cause: error });
  }
}

/** What happened, without OpenSSL's file names and addresses, and what a person should look at. */
export function describeTlsFailure(error: unknown, { ca, cert, key }: TlsFlags): string {
  const reason = error instanceof Error && "reason" in error ? String(error.reason) : describeError(error);
  return `${reason.trim()} (check ${ca}, ${cert} and ${key}, and the names and dates in the server's certificate)`;
}

/** Whether one side did not take the other's certificate, or does not speak TLS at all: OpenSSL's alerts, X509_V_ERR_* as Node names them. */
export function isTlsFailure(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return (
    /^(ERR_SSL_|ERR_TLS_|EPROTO$|UNABLE_TO_|CERT_|CRL_|ERROR_IN_C|SELF_SIGNED|DEPTH_ZERO)/.test(code) ||
    ["HOSTNAME_MISMATCH", "INVALID_CA", "INVALID_PURPOSE", "PATH_LENGTH_EXCEEDED"].includes(code)
  );
}
