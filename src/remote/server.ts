import { isLoopback, tryParseAddress } from "../ip/address.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Clock, Milliseconds } from "../lib/clock.ts";
import { describeError, InvalidConfigError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import { Scope } from "../lib/scope.ts";
import { type TlsFiles, TlsSource } from "../lib/tls-source.ts";
import { untilItWorks } from "../lib/until-it-works.ts";
import { Authorization, type AuthorizationOptions } from "./authorization.ts";
import { Failures } from "./failures.ts";
import { HEADERS } from "./headers.ts";
import { HttpServer } from "./http-server.ts";
import { LeaseApi } from "./lease-api.ts";
import { LeaseHubs } from "./lease-hubs.ts";
import type { ListenTarget } from "./listener.ts";
import { NetworkApi } from "./network-api.ts";
import { NetworkHub } from "./network-hub.ts";
import { remembered } from "./remembered.ts";
import { ReservationApi } from "./reservation-api.ts";
import { routes } from "./routes.ts";
import type { ServedStore } from "./served-store.ts";
import { REMOTE_TLS_FLAGS } from "./tls-flags.ts";
import { WatchApi } from "./watch-api.ts";

export interface ServeOptions {
  readonly store: ServedStore;
  readonly target: ListenTarget;
  /** TLS if there is a certificate; client certificates are required if there is an authority, too. */
  readonly files: TlsFiles;
  readonly authorization: AuthorizationOptions;
  /** What keys in the store begin with, for messages: `/coreos.com/network`. */
  readonly keyPrefix: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called once clients can connect. */
  readonly onListening: (listening: {
    readonly address: string;
    readonly port: number;
    /** How many clients wait for changes now. */
    readonly waiting: () => number;
  }) => void;
}

/** Certificates are looked at this often, besides at each new connection. */
const REFRESH: Milliseconds = 5_000;

/** Serves leases to other hosts until the signal. @throws {InvalidConfigError} if it cannot listen or TLS files cannot be used */
export async function serveLeases(options: ServeOptions, { signal }: Abortable): Promise<void> {
  const { store, target, files, clock, logger, onListening } = options;
  await using scope = new Scope(signal);
  let history: string | undefined;
  const onHistory = (name: string) => {
    history = name;
  };
  const spawn = scope.spawn.bind(scope);
  const hubs = new LeaseHubs({ ...store, clock, logger, onHistory, spawn }, scope);
  const headers = remembered((_parts: string) => ({
    [HEADERS.format]: store.manager.leaseFormat,
    ...(history !== undefined && { [HEADERS.store]: history }),
  }));
  const authorization = new Authorization(options.authorization);
  const failures = new Failures(store.book, options.keyPrefix);
  const find = routes({
    leases: new LeaseApi({ store, authorization, clock, logger }, failures),
    watches: new WatchApi({ store, hubs, clock }, failures),
    reservations: new ReservationApi({ store, authorization }, failures),
    networks: new NetworkApi(store.networks && new NetworkHub(store.networks, clock, { signal: scope.signal })),
  });
  const tls = files.certificate === undefined ? undefined : new TlsSource(files, REMOTE_TLS_FLAGS);
  const clientCertificates = tls !== undefined && files.ca !== undefined;
  await using server = new HttpServer({
    find,
    explain: (error, request) => failures.reply(error, request),
    headers: () => headers(`${store.manager.leaseFormat} ${history ?? ""}`),
    tls,
    clientCertificates,
    clock,
    logger,
  });
  const listening = await listen(server, target);
  logger.info("serving leases", { ...listening, tls: tls !== undefined, clientCertificates });
  warnOfOpenDoors(listening.address, { isTls: tls !== undefined, clientCertificates, logger });
  onListening({ ...listening, waiting: () => hubs.waiting });
  scope.spawn(async (signal) => {
    await untilItWorks(() => hubs.of("").snapshot(), "the store cannot be read yet", { clock, logger, signal });
  });
  scope.spawn(async (signal) => {
    for (;;) {
      await clock.sleep(REFRESH, { signal });
      server.refresh();
    }
  });
  await scope.join();
}

async function listen(server: HttpServer, target: ListenTarget) {
  try {
    return await server.listen(target);
  } catch (error) {
    throw new InvalidConfigError("--listen", describeError(error), { cause: error });
  }
}

function warnOfOpenDoors(
  text: string,
  {
    isTls,
    clientCertificates,
    logger,
  }: { readonly isTls: boolean; readonly clientCertificates: boolean; readonly logger: Logger },
): void {
  const address = tryParseAddress(text);
  if (clientCertificates || (address !== undefined && isLoopback(address))) return;
  if (isTls)
    logger.warn("anyone who reaches this port can take and revoke leases: --remote-cafile would ask for certificates");
  else
    logger.warn(
      "listening beyond this host without TLS: anyone who reaches this port can take, read and revoke leases; see --remote-certfile, --remote-keyfile and --remote-cafile",
      { address: text },
    );
}
