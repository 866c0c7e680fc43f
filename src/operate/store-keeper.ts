import { closeSync } from "node:fs";
import type { DescriptorKeeper } from "../kernel/descriptor-keeper.ts";
import { describeError } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import type { InheritedDescriptor } from "./inherited.ts";
import type { SendDatagram } from "./service-manager.ts";

export interface StoreKeeperOptions {
  /** `$NOTIFY_SOCKET` */
  readonly socket: string;
  /** What the names of ours begin with, among all that one service has in its store. Neither `:` nor control characters. */
  readonly prefix: string;
  /** The manager says that it has a store; else one that takes nothing is nothing to warn of, since another keeper has it all too. */
  readonly isPromised: boolean;
  /** False: what was kept is taken and let go, and nothing is kept. */
  readonly isKeeping: boolean;
  /** All that the service manager passed to us; those with our prefix are ours from now on. */
  readonly inherited: readonly InheritedDescriptor[];
  readonly send: SendDatagram;
  /** A second descriptor of the same, closed on exec. */
  readonly duplicate: (fd: number) => number;
  readonly logger: Logger;
}

/** Keeps descriptors in the service manager, which passes them to the next process of the service. systemd.service(5), FileDescriptorStoreMax=. */
export class StoreKeeper implements DescriptorKeeper {
  readonly #options: StoreKeeperOptions;
  /** Of our own, of what is in the store: from there nothing comes back to this process. */
  readonly #kept = new Map<string, number>();

  constructor(options: StoreKeeperOptions) {
    this.#options = options;
    const { inherited, prefix } = options;
    for (const { fd, name } of inherited) if (name.startsWith(prefix)) this.#own(name.slice(prefix.length), fd);
  }

  async take(names: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const { duplicate, logger } = this.#options;
    const taken = new Map<string, number>();
    try {
      for (const name of names) {
        const fd = this.#kept.get(name);
        if (fd !== undefined) taken.set(name, duplicate(fd));
      }
    } catch (error) {
      for (const fd of taken.values()) closeSync(fd);
      logger.warn("what the service manager kept cannot be taken over", { reason: describeError(error) });
      return new Map();
    }
    if (taken.size > 0) logger.info("descriptors taken over from the service manager", { names: [...taken.keys()] });
    return taken;
  }

  async keep(descriptors: ReadonlyMap<string, number>): Promise<void> {
    try {
      for (const [name, fd] of this.#kept) {
        this.#kept.delete(name);
        closeSync(fd);
        this.#tell(name, "FDSTOREREMOVE=1");
      }
      if (!this.#options.isKeeping) return;
      for (const [name, fd] of descriptors) {
        this.#own(name, this.#options.duplicate(fd));
        // The manager lets go of what has a POLLERR otherwise, as a socket may have that got an ICMP message.
        this.#tell(name, "FDSTORE=1\nFDPOLL=0", [fd]);
      }
    } catch (error) {
      const { logger, isPromised } = this.#options;
      const fields = { reason: describeError(error) };
      if (isPromised)
        logger.warn("descriptors are not kept by the service manager: a restart may lose packets", fields);
      else logger.debug("descriptors are not kept by the service manager", fields);
    }
  }

  #own(name: string, fd: number): void {
    const former = this.#kept.get(name);
    if (former !== undefined) closeSync(former);
    this.#kept.set(name, fd);
  }

  #tell(name: string, what: string, descriptors: readonly number[] = []): void {
    const { send, socket, prefix } = this.#options;
    send(socket, new TextEncoder().encode(`${what}\nFDNAME=${prefix}${name}`), descriptors);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const fd of this.#kept.values()) closeSync(fd);
    this.#kept.clear();
  }
}
