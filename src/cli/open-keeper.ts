import { join } from "node:path";
import { sendDatagram } from "../kernel/datagram.ts";
import type { DescriptorKeeper } from "../kernel/descriptor-keeper.ts";
import { closeAllOnExec, duplicate } from "../kernel/descriptors.ts";
import { Pidfd } from "../kernel/pidfd.ts";
import { type Milliseconds, systemClock } from "../lib/clock.ts";
import type { Logger } from "../lib/logger.ts";
import { Handover } from "../operate/handover.ts";
import { HolderKeeper } from "../operate/holder-keeper.ts";
import type { InheritedDescriptor } from "../operate/inherited.ts";
import { StoreKeeper } from "../operate/store-keeper.ts";

export interface KeeperOptions {
  readonly network: string;
  /** Of the daemon. */
  readonly stateDir: string;
  readonly timeout: Milliseconds;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What the service manager passed to us. */
  readonly inherited: readonly InheritedDescriptor[];
  readonly logger: Logger;
}

/**
 * What takes one network's descriptors from this daemon to the next, as it is possible here: the service manager's store, and a
 * process of our own unless the manager says that it has a store. Many have none, and systemd says so only since its version 254.
 */
export function openKeeper({ network, stateDir, timeout, env, inherited, logger }: KeeperOptions): Handover {
  const id = network === "" ? "" : encodeURIComponent(network);
  const { NOTIFY_SOCKET: socket = "", FDSTORE: storeSize = "" } = env;
  const hasStore = socket !== "" && /^[1-9]\d*$/.test(storeSize);
  const keepers: DescriptorKeeper[] = [];
  if (socket !== "")
    keepers.push(
      new StoreKeeper({
        socket,
        prefix: id === "" ? "handover." : `handover.${id}.`,
        isPromised: hasStore,
        isKeeping: timeout > 0,
        inherited,
        send: sendDatagram,
        duplicate,
        logger,
      }),
    );
  keepers.push(
    new HolderKeeper({
      record: join(stateDir, id === "" ? "handover.json" : `handover-${id}.json`),
      timeout: hasStore ? 0 : timeout, // keeps nothing, but takes what a daemon left that somebody ran by hand
      openProcess: (id) => Pidfd.open(id),
      closeAllOnExec,
      clock: systemClock,
      logger,
    }),
  );
  return new Handover(keepers);
}
