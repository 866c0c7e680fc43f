import { readFileSync } from "node:fs";
import type { Family } from "../../ip/address.ts";
import { type Milliseconds, systemClock } from "../../lib/clock.ts";
import { AF_INET, AF_INET6, close, getsockopt, SOCK_RAW, socket } from "../libc.ts";
import { inNamespace } from "../namespace.ts";

/** include/uapi/linux/netfilter_ipv4/ip_tables.h and ip6_tables.h */
const GET_INFO = 64;
const IPPROTO_RAW = 255;
const LEVEL = { 4: 0, 6: 41 } as const;
const DOMAIN = { 4: AF_INET, 6: AF_INET6 } as const;

/** `struct ipt_getinfo`: name 32, valid hooks 4, hook entries 20, underflows 20, number of entries 4, size 4. Bytes. */
const INFO_SIZE = 84;
const INFO_HOOKS = 32;
const INFO_ENTRIES = 76;

/** The kernel tells nobody when such a table changes. */
const LOOK_EVERY: Milliseconds = 1_000;

/** The tables of the old iptables in the kernel, looked at without a program and without making one that is not there. */
export class LegacyTables {
  readonly #namespace: string | undefined;
  readonly #listeners = new Set<() => void>();
  #unwatched = new AbortController();

  constructor(namespace: string | undefined) {
    this.#namespace = namespace;
  }

  /** Those that exist: `filter`, `nat`. */
  names(family: Family): readonly string[] {
    try {
      const file = `/proc/thread-self/net/ip${family === 4 ? "" : "6"}_tables_names`;
      return inNamespace(this.#namespace, () => readFileSync(file, "utf8"))
        .split("\n")
        .filter((name) => name !== "");
    } catch {
      return []; // this kernel has none
    }
  }

  /** Whether anybody has put rules into one. */
  hasRules(family: Family): boolean {
    return this.names(family).some((table) => {
      const info = this.#info(family, table);
      if (info === undefined) return false;
      // A table without rules holds each of its chains' policy, and an end.
      const hooks = info.getUint32(INFO_HOOKS, true).toString(2).replaceAll("0", "").length;
      return info.getUint32(INFO_ENTRIES, true) > hooks + 1;
    });
  }

  /** Calls back when the number, size or places of rules changed, by whomever. A rule that is replaced by one of equal size is not noticed. */
  watch(onChange: () => void): Disposable {
    this.#listeners.add(onChange);
    if (this.#listeners.size === 1) void this.#follow().catch(() => {}); // rejects only by the signal
    return {
      [Symbol.dispose]: () => {
        this.#listeners.delete(onChange);
        if (this.#listeners.size === 0) this.#unwatched.abort();
      },
    };
  }

  async #follow(): Promise<never> {
    this.#unwatched = new AbortController();
    const { signal } = this.#unwatched;
    for (let before = this.#shapes(); ; ) {
      await systemClock.sleep(LOOK_EVERY, { signal });
      const now = this.#shapes();
      if (now !== before) for (const onChange of this.#listeners) onChange();
      before = now;
    }
  }

  #shapes(): string {
    return ([4, 6] as const).map((family) => this.#shape(family)).join();
  }

  #shape(family: Family): string {
    return this.names(family)
      .map((table) => `${table} ${bytesOf(this.#info(family, table))}`)
      .join();
  }

  #info(family: Family, table: string): DataView | undefined {
    const info = new Uint8Array(INFO_SIZE);
    info.set(Buffer.from(table).subarray(0, 31));
    let fd: number | undefined;
    try {
      fd = inNamespace(this.#namespace, () => socket(DOMAIN[family], SOCK_RAW, IPPROTO_RAW));
      getsockopt(fd, LEVEL[family], GET_INFO, info);
      return new DataView(info.buffer);
    } catch {
      return undefined; // it went meanwhile
    } finally {
      if (fd !== undefined) close(fd);
    }
  }
}

function bytesOf(info: DataView | undefined): string {
  return info === undefined ? "" : Buffer.from(info.buffer).toString("base64");
}
