import { connect as connectTcp, isIP } from "node:net";
import { connect as connectTls } from "node:tls";
import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { StoreRefusedError } from "../../lease/errors.ts";
import type { Milliseconds } from "../../lib/clock.ts";
import { describeError } from "../../lib/errors.ts";
import type { TlsFiles } from "../etcd/options.ts";
import { type TlsMaterial, TlsSource } from "../etcd/tls.ts";

const CONNECT_TIMEOUT: Milliseconds = 1000;
/** A connection with a call under way that has been silent for the interval is asked for a sign of life; etcd hangs up on who asks oftener than every 5 s. */
const PING_INTERVAL: Milliseconds = 7000;
const PING_TIMEOUT: Milliseconds = 5000;
/** Far more than a page of leases; a stranger shall not fill our memory. */
const LARGEST_MESSAGE = 64 << 20;

interface Connection {
  readonly material: TlsMaterial;
  readonly session: Http2SessionManager;
  readonly transport: Transport;
}

/** One HTTP/2 connection per endpoint, made when first needed and again after it was lost or the TLS files were changed. */
export class Connections {
  readonly #tls: TlsSource;
  readonly #current = new Map<string, Connection>();
  readonly #sessions = new Set<Http2SessionManager>();

  constructor(files: TlsFiles) {
    this.#tls = new TlsSource(files);
  }

  /** @throws {StoreRefusedError} if a TLS file cannot be used */
  to(endpoint: string): Transport {
    const material = endpoint.startsWith("https:") ? this.#material(endpoint) : {};
    const known = this.#current.get(endpoint);
    if (known !== undefined && sameMaterial(known.material, material)) return known.transport;
    const session = new Http2SessionManager(
      endpoint,
      { pingIntervalMs: PING_INTERVAL, pingTimeoutMs: PING_TIMEOUT },
      { createConnection: (authority) => openSocket(authority, material), settings: { enablePush: false } },
    );
    const transport = createGrpcTransport({
      baseUrl: endpoint,
      sessionManager: session,
      acceptCompression: [],
      readMaxBytes: LARGEST_MESSAGE,
      binaryOptions: { readUnknownFields: false },
    });
    this.#current.set(endpoint, { material, session, transport });
    this.#sessions.add(session); // a former one may still carry a watch
    return transport;
  }

  /** Ends all calls. */
  close(): void {
    for (const session of this.#sessions) session.abort();
    this.#sessions.clear();
    this.#current.clear();
  }

  #material(endpoint: string): TlsMaterial {
    try {
      return this.#tls.load();
    } catch (error) {
      throw new StoreRefusedError(endpoint, describeError(error), { cause: error });
    }
  }
}

function sameMaterial(a: TlsMaterial, b: TlsMaterial): boolean {
  return a.ca === b.ca && a.cert === b.cert && a.key === b.key;
}

/** Node gives up on a connection only after minutes. */
function openSocket(authority: URL, material: TlsMaterial) {
  const host = authority.hostname.replace(/^\[(.*)\]$/, "$1");
  const secure = authority.protocol === "https:";
  const port = Number(authority.port || (secure ? 443 : 80));
  const socket = secure
    ? connectTls({ host, port, ...(isIP(host) === 0 && { servername: host }), ALPNProtocols: ["h2"], ...material })
    : connectTcp({ host, port });
  socket.setNoDelay(true);
  socket.setTimeout(CONNECT_TIMEOUT, () => {
    const error = new Error(`no ${secure ? "TLS " : ""}connection within ${CONNECT_TIMEOUT} ms`);
    socket.destroy(Object.assign(error, { code: "ETIMEDOUT" }));
  });
  socket.once(secure ? "secureConnect" : "connect", () => socket.setTimeout(0));
  return socket;
}
