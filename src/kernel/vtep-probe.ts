import { randomBytes } from "node:crypto";
import type { Abortable } from "../lib/abortable.ts";
import type { Milliseconds } from "../lib/clock.ts";
import { answersVtepProbe, encodeVtepProbe } from "../wire/vtep-probe.ts";
import { ask } from "./ask.ts";
import { SystemCallError } from "./errno.ts";
import { type Vtep, VXLAN_DEFAULT_PORT } from "./kernel.ts";
import { AF_INET, bind, close, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_RAW, sendto, socket } from "./libc.ts";
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
  const icmp = inside(() => socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_ICMP));
  let udp = -1;
  try {
    udp = inside(() => socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    bind(udp, socketAddress(sender, 0));
    const send = () => void sendto(udp, probe, 0, to);
    const read = (packet: Uint8Array) => answersVtepProbe(packet, nonce) || undefined;
    const asked = ask({ fd: icmp, send, times: PROBES, every: BETWEEN, read }, { signal });
    return await asked.then(
      (answer) => answer ?? false,
      (error: unknown) => {
        if (error instanceof SystemCallError) return false; // there is no way to it
        throw error;
      },
    );
  } finally {
    close(icmp);
    if (udp >= 0) close(udp);
  }
}
