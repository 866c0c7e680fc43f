import type { TlsFlags } from "../lib/tls-source.ts";

/** The flags that both ends of client/server mode know. */
export const REMOTE_TLS_FLAGS: Required<TlsFlags> = {
  ca: "--remote-cafile",
  cert: "--remote-certfile",
  key: "--remote-keyfile",
  crl: "--remote-crlfile",
};
