import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** Paths of PEM files. */
export interface Certificates {
  readonly ca: string;
  readonly server: { readonly cert: string; readonly key: string };
  readonly client: { readonly cert: string; readonly key: string };
}

/** An authority that can issue more of them, and revoke. */
export interface Authority extends Certificates {
  /** A client certificate for this common name. @param validity of openssl's, as `-not_after` or `-days` */
  issueClient(commonName: string, validity?: readonly string[]): { readonly cert: string; readonly key: string };
  /** Puts another server certificate, with another key, in the place of the former one. */
  renewServer(): void;
  /** Writes the list of all certificates that were revoked. @returns its path */
  revoke(...certificates: readonly string[]): string;
}

/** Makes, by openssl, an authority with a server certificate for 127.0.0.1 and localhost and a client certificate. */
export function makeCertificates(directory: string, name = "test", addresses: readonly string[] = []): Authority {
  const path = (file: string) => join(directory, `${name}-${file}`);
  const openssl = (...args: string[]) => execFileSync("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const ca = path("ca.pem");
  const caKey = path("ca-key.pem");
  openssl("req", "-x509", ...newKey, "-days", "2", "-subj", `/CN=${name} authority`, "-keyout", caKey, "-out", ca);
  const names = ["IP:127.0.0.1", "DNS:localhost", ...addresses.map((address) => `IP:${address}`)].join(",");
  const issue = (role: string, usage: string, validity: readonly string[] = ["-days", "2"]) => {
    const files = { cert: path(`${role}.pem`), key: path(`${role}-key.pem`) };
    const request = path(`${role}.csr`);
    const extensions = path(`${role}.ext`);
    writeFileSync(extensions, `extendedKeyUsage=${usage}\nsubjectAltName=${names}\n`);
    openssl("req", ...newKey, "-subj", `/CN=${role}`, "-keyout", files.key, "-out", request);
    const sign = ["x509", "-req", ...validity, "-in", request, "-CA", ca, "-CAkey", caKey, "-CAcreateserial"];
    openssl(...sign, "-extfile", extensions, "-out", files.cert);
    return files;
  };
  const issueServer = () => issue("server", "serverAuth,clientAuth");
  return {
    ca,
    server: issueServer(),
    renewServer: () => void issueServer(),
    client: issue("client", "clientAuth"),
    issueClient: (commonName, validity) => issue(commonName, "clientAuth", validity),
    revoke(...certificates) {
      const config = path("ca.cnf");
      const database = path("index.txt");
      writeFileSync(config, `[ca]\ndefault_ca=d\n[d]\ndatabase=${database}\ndefault_md=sha256\ndefault_crl_days=2\n`);
      writeFileSync(database, "");
      const run = (...args: string[]) => openssl("ca", "-config", config, "-cert", ca, "-keyfile", caKey, ...args);
      for (const certificate of certificates) run("-revoke", certificate);
      const crl = path("crl.pem");
      run("-gencrl", "-out", crl);
      return crl;
    },
  };
}
