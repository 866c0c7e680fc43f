import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** Paths of PEM files. */
export interface Certificates {
  readonly ca: string;
  readonly server: { readonly cert: string; readonly key: string };
  readonly client: { readonly cert: string; readonly key: string };
}

/** Makes, by openssl, an authority with a server certificate for 127.0.0.1 and localhost and a client certificate. */
export function makeCertificates(directory: string, name = "test"): Certificates {
  const path = (file: string) => join(directory, `${name}-${file}`);
  const openssl = (...args: string[]) => execFileSync("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const ca = path("ca.pem");
  const caKey = path("ca-key.pem");
  openssl("req", "-x509", ...newKey, "-days", "2", "-subj", `/CN=${name} authority`, "-keyout", caKey, "-out", ca);
  const issue = (role: string, usage: string) => {
    const files = { cert: path(`${role}.pem`), key: path(`${role}-key.pem`) };
    const request = path(`${role}.csr`);
    const extensions = path(`${role}.ext`);
    writeFileSync(extensions, `extendedKeyUsage=${usage}\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n`);
    openssl("req", ...newKey, "-subj", `/CN=${role}`, "-keyout", files.key, "-out", request);
    const sign = ["x509", "-req", "-days", "2", "-in", request, "-CA", ca, "-CAkey", caKey, "-CAcreateserial"];
    openssl(...sign, "-extfile", extensions, "-out", files.cert);
    return files;
  };
  return { ca, server: issue("server", "serverAuth,clientAuth"), client: issue("client", "clientAuth") };
}
