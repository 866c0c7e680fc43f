import type { Place } from "../../src/lab/place.ts";
import { ended } from "../../src/lab/program.ts";
import type { Abortable } from "../../src/lib/abortable.ts";
import { PYTHON } from "../support/python.ts";
import { saysOnce } from "../support/tcp.ts";

const PROGRAM = new URL("./source-program.ts", import.meta.url).pathname;

const ASK = `
import socket, sys
address, source, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
with socket.create_connection((address, 7788), timeout=20, source_address=(source, port)) as connection:
    connection.settimeout(20)
    text = b""
    while piece := connection.recv(100): # to the end: who closes first keeps the port in TIME_WAIT, for IPv6 too
        text += piece
    print(text.decode())`;

const SHOUT = `
import socket, sys
source, link = sys.argv[1], sys.argv[2]
if ":" in source:
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex(link))
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 4)
else:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(link))
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 4)
s.bind((source, 0))
s.sendto(b"hello", ("ff05::1:2:3" if ":" in source else "239.1.2.3", 7788))`;

/** Somewhere that tells who connects to it. */
export interface Witness extends AsyncDisposable {
  /** What it has seen of multicast. */
  heard(): string;
}

/** @param multicastOn its own address on the link whose multicast it hears; that of IPv6 is heard on `::%LINK` */
export async function witness(
  place: Pick<Place, "spawn">,
  { signal, multicastOn }: Abortable & { readonly multicastOn?: string },
): Promise<Witness> {
  const argv = [process.execPath, PROGRAM, ...(multicastOn === undefined ? [] : [multicastOn])];
  const child = place.spawn(argv, { stdio: ["ignore", "pipe", "inherit"] });
  const end = ended(child);
  let said = "";
  child.stdout?.on("data", (text) => (said += text));
  await saysOnce(child.stdout, "listening", { signal });
  return {
    heard: () => said,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await end;
    },
  };
}

/**
 * Connects to a witness. @returns the source address seen there; "nothing" if no answer came
 * @param from.source the address to connect from, if not what the kernel chooses, and `port` likewise
 */
export async function sourceSeen(
  from: Pick<Place, "exec">,
  to: string,
  { source = "", port = 0 }: { readonly source?: string; readonly port?: number } = {},
): Promise<string> {
  const { code, stdout } = await from.exec([PYTHON, "-c", ASK, to, source, String(port)]);
  return code === 0 ? stdout.trim() : "nothing";
}

/** Sends one multicast datagram. @param link an address of it, or with a source of IPv6 its name */
export async function shout(from: Place, source: string, link: string): Promise<void> {
  await from.run([PYTHON, "-c", SHOUT, source, link]);
}
