import type { TunPacket } from "../../src/backend/udp/superpackets.ts";
import { type Tun, TunNamespace } from "./tun-namespace.ts";

/**
 * Linux as segmenter: it forwards what comes from a device with offloads to one without, so that it has to undo what was merged and
 * complete what was left open. It also decrements the TTL.
 */
export class KernelSegmenter implements Disposable {
  readonly #namespace: TunNamespace;
  readonly #in: Tun;
  readonly #out: Tun;

  constructor(name: string) {
    this.#namespace = new TunNamespace(name);
    try {
      this.#namespace.sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
      this.#namespace.sysctl("net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0");
      this.#namespace.sysctl("net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.addr_gen_mode=1");
      this.#in = this.#namespace.open("pkin", true);
      this.#out = this.#namespace.open("pkout", false);
      this.#namespace.ip(`
        link set pkin up mtu 65535
        link set pkout up mtu 65535 txqueuelen 2000
        address add 192.0.2.1/32 dev pkout
        route add 10.5.15.0/24 dev pkin
        route add 10.5.16.0/24 dev pkout
        route add fd00:5::1500/120 dev pkin
        route add fd00:5::1600/120 dev pkout
      `);
      this.#drain();
    } catch (error) {
      this.#namespace[Symbol.dispose]();
      throw error;
    }
  }

  /** @param count of packets that must come */
  async segment({ header, packet }: TunPacket, count: number): Promise<readonly Uint8Array[]> {
    this.#drain();
    if (!this.#in.write(Uint8Array.from([...header, ...packet]))) throw new Error("the kernel refuses the packet");
    const packets = await this.#out.take(count);
    const further = this.#out.read();
    if (further !== undefined)
      throw new Error(`more packets came than expected: ${Buffer.from(further).toString("hex", 0, 100)}`);
    return packets;
  }

  #drain(): void {
    while (this.#in.read() !== undefined || this.#out.read() !== undefined);
  }

  [Symbol.dispose](): void {
    this.#namespace[Symbol.dispose]();
  }
}
