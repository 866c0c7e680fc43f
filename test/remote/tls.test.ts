// TLS, client certificates and who may do what by them. Needs openssl.

import { once } from "node:events";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { StoreRefusedError } from "../../src/lease/errors.ts";
import { parseNetworkConfig } from "../../src/lease/network-config.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { RecordingLogger } from "../../src/lib/recording-logger.ts";
import type { TlsFiles } from "../../src/lib/tls-source.ts";
import type { AuthorizationOptions } from "../../src/remote/authorization.ts";
import { RemoteSubnetManager } from "../../src/remote/remote-subnet-manager.ts";
import { MemoryRegistry } from "../../src/store/memory/memory-registry.ts";
import { MemoryStore } from "../../src/store/memory/memory-store.ts";
import { type Authority, makeCertificates } from "../support/certificates.ts";
import { rawExchange } from "./raw-http.ts";
import { type Serving, serve } from "./serving.ts";

const { signal } = new AbortController();
const options = { signal };
const CONFIG = '{"Network":"10.5.0.0/16"}';

let directory: string;
let authority: Authority;
let stranger: Authority;
let cleanup: AsyncDisposableStack;
let store: MemoryStore;
let registry: MemoryRegistry;
let logger: RecordingLogger;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "remote-tls-"));
  authority = makeCertificates(directory);
  stranger = makeCertificates(directory, "stranger");
});
afterAll(() => rmSync(directory, { recursive: true }));
beforeEach(() => {
  cleanup = new AsyncDisposableStack();
  store = new MemoryStore({ clock: systemClock });
  registry = new MemoryRegistry(store, { logger: silentLogger });
  logger = new RecordingLogger();
  store.setConfig("", CONFIG);
});
afterEach(() => cleanup.disposeAsync());

async function serving(files: TlsFiles, authorization?: AuthorizationOptions): Promise<Serving> {
  return cleanup.use(await serve(registry, { files, logger, ...(authorization !== undefined && { authorization }) }));
}

function client({ port }: Serving, files: TlsFiles): RemoteSubnetManager {
  const endpoints = [`https://127.0.0.1:${port}`];
  return cleanup.use(new RemoteSubnetManager({ endpoints, files }, { clock: systemClock, logger: silentLogger }));
}

function take(manager: RemoteSubnetManager, host: number, previous: readonly string[] = []) {
  const publicIP = parseAddress(`192.0.2.${host}`);
  const request = { publicIP, config: parseNetworkConfig(CONFIG), previous: previous.map(parsePrefix) };
  return manager.acquireLease("", { ...request, attributes: () => ({ publicIP }) }, options);
}

async function refusal(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => new Error("it succeeded"),
    (error: unknown) => error,
  );
  if (!(error instanceof StoreRefusedError)) throw error;
  return error.message;
}

const both = (certificate: TlsFiles["certificate"]): TlsFiles => ({
  ca: authority.ca,
  ...(certificate && { certificate }),
});

describe("TLS", () => {
  test("a server with a certificate serves by TLS, and asks clients for none without an authority", async () => {
    const server = await serving({ certificate: authority.server });
    expect((await take(client(server, { ca: authority.ca }), 1)).isReservation).toBe(false);
    expect(await refusal(take(client(server, { ca: stranger.ca }), 1))).toContain("--remote-cafile");
  });

  test("a server with an authority serves those whom it signed, and tells the others why not", async () => {
    const server = await serving(both(authority.server));
    await take(client(server, both(authority.client)), 1);
    expect(await refusal(take(client(server, both(undefined)), 2))).toContain("a client certificate is needed");
    expect(await refusal(take(client(server, both(stranger.client)), 2))).toContain('of "client" is refused');
    expect(logger.messages("warn")).toContain("a client is refused");
  });

  test("an expired certificate is refused, and the log says whose", async () => {
    const server = await serving(both(authority.server));
    const expired = authority.issueClient("old-host", ["-days", "-1"]);
    expect(await refusal(take(client(server, both(expired)), 1))).toContain('"old-host" is refused: CERT_HAS_EXPIRED');
    const line = logger.lines.find(({ message }) => message === "a client is refused");
    expect(line?.fields).toMatchObject({ subject: "old-host" });
    await refusal(take(client(server, both(expired)), 1));
    expect(logger.lines.filter(({ message }) => message === "a client is refused")).toHaveLength(1);
  });

  test("a revoked certificate is refused, also on connections that were there before", async () => {
    const lost = authority.issueClient("lost-host");
    const crl = join(directory, "list.pem");
    cpSync(authority.revoke(), crl);
    const server = await serving({ ...both(authority.server), crl });
    const before = client(server, both(lost));
    await take(before, 1);
    cpSync(authority.revoke(lost.cert), crl);
    expect(await refusal(take(client(server, both(lost)), 1))).toContain('"lost-host" is refused: CERT_REVOKED');
    expect(await refusal(take(before, 1))).toContain('"lost-host" is refused: CERT_REVOKED');
    await take(client(server, both(authority.client)), 2);
  });

  test("a certificate that is rotated on disk is used without a restart, and a broken one is not", async () => {
    const certificate = { cert: join(directory, "rotated.pem"), key: join(directory, "rotated-key.pem") };
    const put = (files: { readonly cert: string; readonly key: string }) => {
      cpSync(files.cert, certificate.cert);
      cpSync(files.key, certificate.key);
    };
    put(authority.server);
    const server = await serving({ certificate });
    await take(client(server, { ca: authority.ca }), 1);
    put(stranger.server);
    await take(client(server, { ca: stranger.ca }), 1);
    put({ cert: authority.server.cert, key: stranger.server.key });
    await take(client(server, { ca: stranger.ca }), 1);
    expect(logger.messages("error")).toEqual([
      "TLS files have changed and cannot be used; going on with the former ones",
    ]);
  });

  test("plain HTTP on a TLS port gets a clear answer, as from Go", async () => {
    const server = await serving(both(authority.server));
    expect(await rawExchange(server.port, "GET /v1/_/config HTTP/1.1\r\nHost: x\r\n\r\n")).toBe(
      "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
    );
  });

  test("no session is resumed: it would not be checked again", async () => {
    const server = await serving({ certificate: authority.server });
    const socket = connect({ port: server.port, rejectUnauthorized: false });
    let sessions = 0;
    socket.on("session", () => sessions++);
    await once(socket, "secureConnect");
    socket.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    socket.resume();
    await once(socket, "close");
    const again = connect({ port: server.port, rejectUnauthorized: false, session: socket.getSession() });
    await once(again, "secureConnect");
    expect({ reused: again.isSessionReused() }).toEqual({ reused: false });
    again.destroy();
  });
});

describe("--remote-authz=cn", () => {
  const cn: AuthorizationOptions = { byCommonName: true };

  test("a lease belongs to the certificate that made it", async () => {
    const server = await serving(both(authority.server), cn);
    const owner = client(server, both(authority.issueClient("host-a")));
    const thief = client(server, both(authority.issueClient("host-b")));
    const lease = await take(owner, 1);
    expect(lease.attributes).toEqual({ publicIP: parseAddress("192.0.2.1") });
    expect(await refusal(take(thief, 1))).toContain('belongs to the certificate of "host-a", not of "host-b"');
    expect(await refusal(thief.updateLease("", lease, lease.attributes, options))).toContain("belongs to");
    expect(await refusal(thief.revokeLease("", lease.subnet, options))).toContain("belongs to");
    const renewed = await owner.updateLease("", lease, lease.attributes, options);
    expect((await registry.getLease("", renewed.subnet, options))?.attributes.owner).toBe("host-a");
    await take(owner, 1);
    for await (const update of thief.watchLeases("", options)) {
      expect(
        JSON.stringify(update, (_, value) => (typeof value === "bigint" ? String(value) : (value as unknown))),
      ).not.toContain("host-a");
      break;
    }
    await owner.revokeLease("", lease.subnet, options);
  });

  test("a lease from before belongs to whoever has its public IP", async () => {
    const publicIP = parseAddress("192.0.2.1");
    const claim = { subnet: parsePrefix("10.5.7.0/24"), attributes: { publicIP }, isReservation: false };
    await registry.createLease("", claim, options);
    const server = await serving(both(authority.server), cn);
    const lease = await take(client(server, both(authority.issueClient("host-a"))), 1);
    expect(lease.subnet).toEqual(claim.subnet);
    expect(await refusal(take(client(server, both(authority.issueClient("host-b"))), 1))).toContain("belongs to");
  });

  test("--remote-admins alone may revoke and reserve", async () => {
    const server = await serving(both(authority.server), { byCommonName: true, admins: ["admin"] });
    const host = client(server, both(authority.issueClient("host-a")));
    const admin = client(server, both(authority.issueClient("admin")));
    const other = client(server, both(authority.issueClient("host-b")));
    const reservation = { subnet: parsePrefix("10.5.77.0/24"), publicIP: parseAddress("192.0.2.1") };
    expect(await refusal(host.addReservation("", reservation, options))).toContain("--remote-admins");
    await admin.addReservation("", reservation, options);
    expect((await take(host, 1)).subnet).toEqual(reservation.subnet);
    expect(await refusal(other.revokeLease("", reservation.subnet, options))).toContain("--remote-admins");
    expect(await refusal(host.removeReservation("", reservation.subnet, options))).toContain("--remote-admins");
    await admin.removeReservation("", reservation.subnet, options);
    await admin.revokeLease("", reservation.subnet, options);
    const own = await take(host, 1);
    await host.revokeLease("", own.subnet, options);
  });
});
