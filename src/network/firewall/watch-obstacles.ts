import { type Address, addressBits } from "../../ip/address.ts";
import type { Prefix } from "../../ip/prefix.ts";
import { containsAddress, formatPrefix } from "../../ip/prefix.ts";
import type { Firewall } from "../../kernel/firewall/firewall.ts";
import type { BlockingRule } from "../../kernel/firewall/obstacles.ts";
import type { Probe } from "../../kernel/firewall/probe.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import type { Abortable } from "../../lib/abortable.ts";
import { Alarm } from "../../lib/alarm.ts";
import type { Clock, Instant, Milliseconds } from "../../lib/clock.ts";
import { describeError } from "../../lib/errors.ts";
import type { Logger } from "../../lib/logger.ts";
import { remedyFor, type Stopped } from "./remedy.ts";

/** Others write their rules in several steps. */
const SETTLES: Milliseconds = 1_000;
/** What changes again sooner is not worth a word: while firewalld reloads, all that is new is dropped. */
const STANDS: Milliseconds = 5_000;
/** Peers come and go, and nobody announces that here. */
const LOOK_EVERY: Milliseconds = 30_000;
/** A look may take at most this share of a processor: long listings are read less often. */
const SHARE = 0.05;
/** Peers that it is looked for: who lets in some of thousands and not others names them one by one. */
const MOST_PEERS = 50;

export interface ObstacleOptions extends Abortable {
  readonly firewall: Firewall;
  readonly kernel: Kernel;
  readonly network: Prefix;
  readonly subnet: Prefix;
  /** The link that leads to other hosts' pods. */
  readonly link: string;
  /** Where other hosts' packets come in; undefined if they come as they are. */
  readonly inlet: Inlet | undefined;
  readonly clock: Clock;
  /** As of `kernel/processor-time.ts`. */
  readonly processorTime: () => Milliseconds;
  readonly logger: Logger;
}

/** A UDP socket of ours that other hosts send to. */
export interface Inlet {
  readonly port: number;
  readonly address: Address;
  readonly link: string;
  /** The other hosts' addresses, as they are now. */
  readonly peers: () => readonly Address[];
}

/** What is looked for, and what is said of it. */
interface Question {
  readonly found: string;
  readonly gone: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly stopped: Stopped;
  probes(): Promise<readonly Probe[]>;
}

/** What was found of a question, and said once it has stood for a while. */
class Finding {
  readonly question: Question;
  readonly #logger: Logger;
  #words = "";
  #since: Instant = 0;
  #said = "";

  constructor(question: Question, logger: Logger) {
    this.question = question;
    this.#logger = logger;
  }

  get isUnsaid(): boolean {
    return this.#words !== this.#said;
  }

  /** @param rule undefined if nothing stops these packets */
  is(rule: BlockingRule | undefined, now: Instant): void {
    const { found, gone, fields, stopped } = this.question;
    const words = rule === undefined ? "" : `${rule.table} ${rule.chain}: ${rule.rule}`;
    if (words !== this.#words) {
      this.#words = words;
      this.#since = now;
    }
    if (!this.isUnsaid || now < this.#since + STANDS) return;
    this.#said = words;
    if (rule === undefined) return this.#logger.info(gone, fields);
    const remedy = remedyFor(rule, stopped);
    this.#logger.warn(found, { ...fields, ...rule, ...(remedy !== undefined && { remedy }) });
  }
}

/**
 * Says which rule of others stops the overlay's packets where ours cannot help: after a drop or a reject in another chain of nftables
 * nobody is asked any more, and who may send to this host is its administrator's to say. Looks whenever others changed something. Ends only
 * by the signal.
 */
export async function watchObstacles(options: ObstacleOptions): Promise<never> {
  const { firewall, clock, processorTime, logger, signal } = options;
  let wake = () => {};
  let isChanged = true;
  using _watch = firewall.watchOthers(() => {
    isChanged = true;
    wake();
  });
  using alarm = new Alarm(clock, () => wake());
  signal.addEventListener("abort", () => wake(), { once: true });
  const questions = [forwarding(options), ...(options.inlet === undefined ? [] : [incoming(options, options.inlet)])];
  const findings = questions.map((question) => new Finding(question, logger));
  for (;;) {
    signal.throwIfAborted();
    isChanged = false;
    const start = processorTime();
    try {
      for (const finding of findings)
        finding.is(await firewall.blockingRule(await finding.question.probes(), { signal }), clock.now());
    } catch (error) {
      signal.throwIfAborted();
      logger.debug("cannot look for rules that stop packets of the overlay", { reason: describeError(error) });
    }
    await clock.sleep(Math.max(SETTLES, (processorTime() - start) / SHARE), { signal });
    if (!isChanged)
      await new Promise<void>((resolve) => {
        wake = resolve;
        alarm.set(clock.now() + (findings.some(({ isUnsaid }) => isUnsaid) ? STANDS : LOOK_EVERY));
      });
    await clock.sleep(SETTLES, { signal });
  }
}

/** A pod's packet to another host's pod, and one back. */
function forwarding({ kernel, network, subnet, link, signal }: ObstacleOptions): Question {
  return {
    found: "somebody's rule stops packets of the overlay, and no rule of ours can let them pass",
    gone: "nobody's rule stops packets of the overlay any more",
    fields: { network: formatPrefix(network) },
    stopped: { network },
    async probes() {
      const addresses = await kernel.listAddresses({ signal });
      const bridge = addresses.find((row) => row.link !== link && containsAddress(subnet, row.address.address))?.link;
      const packet = { hook: "forward", protocol: "tcp", port: undefined } as const;
      return [
        { ...packet, source: subnet, destination: network, from: bridge, to: link },
        { ...packet, source: network, destination: subnet, from: link, to: bridge },
      ];
    },
  };
}

/** Other hosts' packets to this one. */
function incoming({ network }: ObstacleOptions, { port, address, link, peers }: Inlet): Question {
  return {
    found: "somebody's rule stops packets of other hosts to this one: the overlay needs this UDP port",
    gone: "nobody's rule stops packets of other hosts to this one any more",
    fields: { network: formatPrefix(network), port },
    stopped: { port },
    async probes() {
      return peers()
        .filter(({ family }) => family === address.family)
        .slice(0, MOST_PEERS)
        .map((peer) => ({
          hook: "input",
          protocol: "udp",
          port,
          source: host(peer),
          destination: host(address),
          from: link,
          to: undefined,
        }));
    },
  };
}

function host(address: Address): Prefix {
  return { address, length: addressBits(address.family) };
}
