import { type Address, equalAddress, formatAddress } from "../ip/address.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Abortable } from "../lib/abortable.ts";
import type { Clock, Instant, Milliseconds } from "../lib/clock.ts";
import { describeError, InvalidConfigError, isAbort } from "../lib/errors.ts";
import type { Logger } from "../lib/logger.ts";
import {
  type ChosenInterface,
  chooseExternalInterface,
  type HostLinks,
  pickIPv6,
  readHostLinks,
  reportChoice,
  selectExternalInterface,
} from "./external-interface.ts";
import type { InterfaceRules } from "./interface-rules.ts";
import { sameUnderlay, type UnderlayInterface } from "./underlay-interface.ts";

/** Several changes are one: an address that is replaced goes before the next one comes. */
const SETTLED: Milliseconds = 200;
/** It is looked this often at most; and while there is no address to use, since a default route that comes back is announced by nobody. */
const LOOK_AGAIN: Milliseconds = 500;
/** Another interface is gone over to only if the one in use was without its address for so long. */
const PATIENCE: Milliseconds = 1_500;

export interface UnderlayOptions {
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The interface to the other hosts as it is now: followed when its address, MTU or link changes. */
export class Underlay {
  readonly #kernel: Kernel;
  readonly #rules: InterfaceRules;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #current: ChosenInterface;
  /** Since when what is in use is not there any more. */
  #missingSince: Instant | undefined;
  readonly #waiting = new Set<() => void>();

  /** @throws {InvalidConfigError} if no interface will do */
  static async open(
    kernel: Kernel,
    rules: InterfaceRules,
    { signal, ...options }: UnderlayOptions & Abortable,
  ): Promise<Underlay> {
    return new Underlay(kernel, rules, await chooseExternalInterface(kernel, rules, { signal }), options);
  }

  private constructor(kernel: Kernel, rules: InterfaceRules, chosen: ChosenInterface, options: UnderlayOptions) {
    this.#kernel = kernel;
    this.#rules = rules;
    this.#current = chosen;
    this.#clock = options.clock;
    this.#logger = options.logger;
  }

  get current(): UnderlayInterface {
    return this.#current;
  }

  /** Says which interface is used and why. */
  report(): void {
    reportChoice(this.#current, this.#logger);
  }

  /** Resolves once it differs from `seen`. */
  async changed(seen: UnderlayInterface, { signal }: Abortable): Promise<void> {
    while (sameUnderlay(seen, this.#current)) {
      signal.throwIfAborted();
      await new Promise<void>((resolve) => {
        const resume = () => {
          this.#waiting.delete(resume);
          signal.removeEventListener("abort", resume);
          resolve();
        };
        this.#waiting.add(resume);
        signal.addEventListener("abort", resume, { once: true });
      });
    }
  }

  /** Follows it until the signal aborts, once. */
  async run({ signal }: Abortable): Promise<never> {
    let isNews = false;
    let lookedAt: Instant = Number.NEGATIVE_INFINITY;
    let wake = () => {};
    using _watch = this.#kernel.watchLinks(() => {
      isNews = true;
      wake();
    });
    const onAbort = () => wake();
    signal.addEventListener("abort", onAbort, { once: true });
    for (;;) {
      if (!isNews && this.#missingSince === undefined)
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (isNews || signal.aborted) resolve();
        });
      const now = this.#clock.now();
      const wait = Math.max(SETTLED, lookedAt + LOOK_AGAIN - now);
      await this.#clock.sleep(wait, { signal });
      lookedAt = now + wait;
      isNews = false;
      try {
        await this.#look({ signal });
      } catch (error) {
        if (isAbort(error, signal)) throw error;
        isNews = true; // it was not looked at
        this.#logger.debug("cannot look at the interfaces", { reason: describeError(error) });
      }
    }
  }

  async #look({ signal }: Abortable): Promise<void> {
    const [links, addresses] = await Promise.all([
      this.#kernel.listLinks({ signal }),
      this.#kernel.listAddresses({ signal }),
    ]);
    const present = stillThere(this.#current, this.#rules, { links, addresses });
    if (present !== undefined) {
      this.#missingSince = undefined;
      this.#become(present);
      return;
    }
    const now = this.#clock.now();
    const isNew = this.#missingSince === undefined;
    this.#missingSince ??= now;
    // Only now, since there may be thousands of routes, and containers change links all the time.
    const chosen = this.#choose(await readHostLinks(this.#kernel, this.#rules, { signal }), isNew);
    if (chosen === undefined) return;
    const isSameLink = chosen.link.name === this.#current.link.name;
    if (!isSameLink && now - this.#missingSince < PATIENCE) return;
    this.#missingSince = undefined;
    this.#become(chosen);
  }

  /** @returns undefined if there is none at present */
  #choose(host: HostLinks, isNew: boolean): ChosenInterface | undefined {
    const { link, address, rule } = this.#current;
    let reason = "";
    try {
      const chosen = selectExternalInterface(this.#rules, host);
      // An address that we were to use and that has gone has not become a NAT's.
      if (!(rule.startsWith("--public-ip") && chosen.rule !== rule)) return chosen;
      reason = `no interface has the address ${formatAddress(address)} any more`;
    } catch (error) {
      if (!(error instanceof InvalidConfigError)) throw error;
      reason = error.message;
    }
    if (isNew)
      this.#logger.warn("the interface to the other hosts has lost its address; all stays as it is until it has one", {
        name: link.name,
        address,
        reason,
      });
    return undefined;
  }

  #become(next: ChosenInterface): void {
    const before = this.#current;
    if (sameUnderlay(before, next)) return;
    this.#current = next;
    this.#logger.info("the interface to the other hosts has changed", {
      before: describe(before),
      now: describe(next),
      ...(before.link.name !== next.link.name && { rule: next.rule, others: next.others }),
    });
    for (const resume of this.#waiting) resume();
  }
}

/** The same link, by name, with the same address, as it is now; with its IPv6 address of now, or the last one as long as it has none. */
function stillThere(
  chosen: ChosenInterface,
  rules: InterfaceRules,
  { links, addresses }: Pick<HostLinks, "links" | "addresses">,
): ChosenInterface | undefined {
  const { name } = chosen.link;
  const link = links.find((each) => each.name === name);
  const isThere = (address: Address) =>
    addresses.some((each) => each.link === name && equalAddress(each.address.address, address));
  if (link === undefined || !isThere(chosen.address) || link.mtu === 0) return undefined;
  const { ipv6 } = chosen;
  if (chosen.address.family === 6 || (ipv6 !== undefined && isThere(ipv6.address))) return { ...chosen, link };
  return { ...chosen, link, ipv6: pickIPv6(name, addresses, rules) ?? ipv6 };
}

function describe({ link, address, publicIP, ipv6 }: UnderlayInterface): string {
  const outside = equalAddress(address, publicIP) ? "" : `, public IP ${formatAddress(publicIP)}`;
  const second = ipv6 === undefined ? "" : `, ${formatAddress(ipv6.address)}`;
  return `${link.name} ${formatAddress(address)}${outside}${second}, MTU ${link.mtu}`;
}
