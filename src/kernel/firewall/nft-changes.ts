import type { Logger } from "../../lib/logger.ts";
import type { Source } from "../../wire/codec.ts";
import {
  NFNLGRP_NFTABLES,
  NFT_MSG_DELCHAIN,
  NFT_MSG_DELRULE,
  NFT_MSG_DELSET,
  NFT_MSG_DELSETELEM,
  NFT_MSG_DELTABLE,
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWGEN,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWSET,
  NFT_MSG_NEWSETELEM,
  NFT_MSG_NEWTABLE,
  NftChainMessage,
  NftContentMessage,
  NftGenerationMessage,
} from "../../wire/nftables-message.ts";
import { Monitor, type Notification } from "../monitor.ts";
import { NETLINK_NETFILTER } from "../netlink-socket.ts";

const CONTENTS: readonly number[] = [
  NFT_MSG_NEWTABLE,
  NFT_MSG_DELTABLE,
  NFT_MSG_NEWRULE,
  NFT_MSG_DELRULE,
  NFT_MSG_NEWSET,
  NFT_MSG_DELSET,
  NFT_MSG_NEWSETELEM,
  NFT_MSG_DELSETELEM,
];
const CHAINS: readonly number[] = [NFT_MSG_NEWCHAIN, NFT_MSG_DELCHAIN];

/** Something in nftables that was made, changed or removed. */
export interface NftChange {
  /** NFPROTO_* */
  readonly family: number;
  readonly table: string;
  /** The chain or the set it is or is in; undefined for the table itself. */
  readonly owner: string | undefined;
  /** A chain came, went or got another policy. */
  readonly isChain: boolean;
}

interface Listener {
  readonly concerns: (change: NftChange) => boolean;
  readonly onChange: () => void;
}

/** Programs of ours whose changes may still be announced. */
const PROCESSES_REMEMBERED = 64;

/** Tells what others change in nftables, iptables' own rules there included: nothing of what a program that we started did. */
export class NftChanges implements Disposable {
  readonly #monitor: Monitor;
  readonly #listeners = new Set<Listener>();
  /** Whom the transaction that is being announced concerns. */
  readonly #concerned = new Set<Listener>();
  readonly #own: number[] = [];

  /** @throws {SystemCallError} if the kernel has no such notifications */
  constructor(namespace: string | undefined, logger: Logger) {
    this.#monitor = new Monitor({ namespace, protocol: NETLINK_NETFILTER, groups: [NFNLGRP_NFTABLES], logger });
    this.#monitor.subscribe({
      types: [...CONTENTS, ...CHAINS, NFT_MSG_NEWGEN],
      onNotification: (notification) => this.#notice(notification),
      onOverrun: () => this.#overrun(),
    });
  }

  subscribe(listener: Listener): Disposable {
    this.#listeners.add(listener);
    return {
      [Symbol.dispose]: () => {
        this.#listeners.delete(listener);
        this.#concerned.delete(listener);
      },
    };
  }

  /** A program of ours is about to change something. */
  readonly expect = (process: number): void => {
    this.#own.push(process);
    if (this.#own.length > PROCESSES_REMEMBERED) this.#own.shift();
  };

  [Symbol.dispose](): void {
    this.#monitor[Symbol.dispose]();
    this.#listeners.clear();
  }

  #notice({ type, source, start, end }: Notification): void {
    if (type === NFT_MSG_NEWGEN) return this.#end(source, start, end);
    if (this.#concerned.size === this.#listeners.size) return; // all will look anyway
    const isChain = CHAINS.includes(type);
    const { family, table = "", owner } = isChain ? chainOf(source, start, end) : contentOf(source, start, end);
    const isTable = type === NFT_MSG_NEWTABLE || type === NFT_MSG_DELTABLE;
    const change: NftChange = { family, table, owner: isTable ? undefined : owner, isChain };
    for (const listener of this.#listeners) if (listener.concerns(change)) this.#concerned.add(listener);
  }

  #end(source: Source, start: number, end: number): void {
    const concerned = [...this.#concerned];
    this.#concerned.clear();
    const { process: by = 0 } = NftGenerationMessage.read(source, start, end);
    if (by !== process.pid && !this.#own.includes(by)) for (const { onChange } of concerned) onChange();
  }

  #overrun(): void {
    this.#concerned.clear();
    for (const { onChange } of this.#listeners) onChange();
  }
}

function chainOf(source: Source, start: number, end: number) {
  const { family, table, name: owner } = NftChainMessage.read(source, start, end);
  return { family, table, owner };
}

function contentOf(source: Source, start: number, end: number) {
  return NftContentMessage.read(source, start, end);
}
