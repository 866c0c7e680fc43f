import { describeTlsFailure, type TlsFiles, TlsSource } from "../../lib/tls-source.ts";

const FLAGS = { ca: "--etcd-cafile", cert: "--etcd-certfile", key: "--etcd-keyfile" };

/** The files that the `--etcd-*` flags name. */
export function etcdTlsSource(files: TlsFiles): TlsSource {
  return new TlsSource(files, FLAGS);
}

/** What happened in the handshake with an etcd, and what a person should look at. */
export function describeEtcdTlsFailure(error: unknown): string {
  return describeTlsFailure(error, FLAGS);
}
