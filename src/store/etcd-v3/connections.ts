import { StoreRefusedError } from "../../lease/errors.ts";
import type { Clock } from "../../lib/clock.ts";
import { describeError, InvalidConfigError } from "../../lib/errors.ts";
import type { TlsFiles, TlsMaterial, TlsSource } from "../../lib/tls-source.ts";
import { etcdTlsSource } from "../etcd/tls.ts";
import { GrpcChannel } from "./grpc-channel.ts";

interface Connection {
  readonly material: TlsMaterial;
  readonly channel: GrpcChannel;
}

const PLAIN: TlsMaterial = {};

/** One channel per endpoint, a new one when the TLS files were changed. */
export class Connections {
  readonly #tls: TlsSource;
  readonly #clock: Clock;
  readonly #current = new Map<string, Connection>();
  readonly #former: GrpcChannel[] = [];

  constructor(files: TlsFiles, clock: Clock) {
    this.#tls = etcdTlsSource(files);
    this.#clock = clock;
  }

  /** @throws {StoreRefusedError} if a TLS file cannot be used */
  to(endpoint: string): GrpcChannel {
    const material = endpoint.startsWith("https:") ? this.#material(endpoint) : PLAIN;
    const known = this.#current.get(endpoint);
    if (known?.material === material) return known.channel;
    if (known !== undefined) {
      known.channel.retire(); // it may still carry a watch
      this.#former.push(known.channel);
    }
    const channel = new GrpcChannel(endpoint, { material, clock: this.#clock });
    this.#current.set(endpoint, { material, channel });
    return channel;
  }

  /** Ends all calls. */
  close(): void {
    for (const channel of [...this.#former, ...[...this.#current.values()].map((each) => each.channel)])
      channel.close();
  }

  #material(endpoint: string): TlsMaterial {
    try {
      return this.#tls.load();
    } catch (error) {
      if (!(error instanceof InvalidConfigError)) throw error;
      throw new StoreRefusedError(endpoint, describeError(error), { cause: error });
    }
  }
}
