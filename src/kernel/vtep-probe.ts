import { randomBytes } from "node:crypto";
import type { Abortable } from "../lib/abortable.ts";
import type { Milliseconds } from "../lib/clock.ts";
import { answersVtepProbe, encodeVtepProbe } from "../wire/vtep-probe.ts";
import { SystemCallError } from "./errno.ts";
import { type Vtep, VXLAN_DEFAULT_PORT } from "./kernel.ts";
import {
  AF_INET,
  bind,
  close,
  MSG_DONTWAIT,
  onReadable,
  recv,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_RAW,
  sendto,
  socket,
} from "./libc.ts";
import { inNamespace } from "./namespace.ts";
import { socketAddress } from "./udp-socket.ts";

const IPPROTO_ICMP = 1;

const PROBES = 4;
const BETWEEN: Milliseconds = 250;

/**
 * Whether a VTEP answers. A stranger's frame gets no answer through the tunnel, since peers are known by entries only; but a host answers
 * a ping that came out of its tunnel by whatever way leads to who sent it. So it is pinged there in the name of our address of the underlay,
 * and answers us past the tunnel.
 *
 * Silent, though it lives: a host that admits its peers' packets only (`--underlay-admission`), one that filters reverse paths strictly, or
 * from which no way leads to our address.
 * @returns false if nobody does, which takes 1 s to know
 * @throws {SystemCallError} without CAP_NET_RAW
 */
export async function vtepAnswers(
  { publicIP, port, vni, mac, address, sender }: Vtep,
  namespace: string | undefined,
  { signal }: Abortable,
): Promise<boolean> {
  if (address.family !== 4 || publicIP.family !== 4 || sender.family !== 4) return false;
  const nonce = randomBytes(16);
  const probe = encodeVtepProbe({ vni, mac, target: address, sender, nonce });
  const to = socketAddress(publicIP, port || VXLAN_DEFAULT_PORT);
  const inside = <T>(open: () => T) => inNamespace(namespace, open);
  const { promise: answered, resolve, reject } = Promise.withResolvers<boolean>();
  const onAbort = () => resolve(false);
  let timer: NodeJS.Timeout | undefined;
  const icmp = inside(() => socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_ICMP));
  let udp = -1;
  let readiness: Disposable | undefined;
  try {
    udp = inside(() => socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    bind(udp, socketAddress(sender, 0));
    const packet = new Uint8Array(2048);
    readiness = onReadable(icmp, () => {
      for (let size = recv(icmp, packet, MSG_DONTWAIT); size >= 0; size = recv(icmp, packet, MSG_DONTWAIT))
        if (answersVtepProbe(packet.subarray(0, size), nonce)) resolve(true);
    });
    let left = PROBES;
    const next = () => {
      if (left-- === 0) return resolve(false);
      try {
        sendto(udp, probe, 0, to);
      } catch (error) {
        if (!(error instanceof SystemCallError)) return reject(error);
        return resolve(false); // there is no way to it
      }
      timer = setTimeout(next, BETWEEN);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    next();
    const isThere = await answered;
    signal.throwIfAborted();
    return isThere;
  } finally {
    signal.removeEventListener("abort", onAbort);
    clearTimeout(timer);
    readiness?.[Symbol.dispose]();
    close(icmp);
    if (udp >= 0) close(udp);
  }
}
