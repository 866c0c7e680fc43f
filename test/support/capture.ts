import type { Place } from "../../src/lab/place.ts";
import { ended } from "../../src/lab/program.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import type { Abortable } from "../../src/lib/abortable.ts";

export interface Capture {
  /** What tcpdump has printed so far, a line per packet. */
  readonly packets: readonly string[];
  /**
   * Ends it. @returns the packets that were on the wire before
   * @param least tcpdump lags behind the wire and forgets the rest when it ends: so many are waited for first
   */
  stop(least?: number): Promise<readonly string[]>;
}

interface CaptureOptions extends Abortable {
  /** `eth0` */
  readonly link: string;
  /** pcap-filter(7): `udp port 8472`. */
  readonly filter: string;
}

/** Watches a link with tcpdump; resolves once it does. */
export async function capture(place: Place, { link, filter, signal }: CaptureOptions): Promise<Capture> {
  const argv = ["tcpdump", "-n", "-l", "--immediate-mode", "-i", link, ...filter.split(" ")];
  const tcpdump = place.spawn(argv, { stdio: ["ignore", "pipe", "pipe"] });
  const end = ended(tcpdump);
  const text = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const)
    tcpdump[stream]?.setEncoding("utf8").on("data", (more: string) => (text[stream] += more));
  const packets = () => text.stdout.split("\n").filter((line) => line !== "");
  await waitUntil(() => text.stderr.includes("listening on"), {
    signal,
    within: 20_000,
    what: `tcpdump listens on ${link}`,
  });
  return {
    get packets() {
      return packets();
    },
    async stop(least = 0) {
      const hasSeen = () => packets().length >= least;
      await waitUntil(hasSeen, { signal, within: 20_000, what: `tcpdump tells of ${least} packets` }).catch(() => {});
      tcpdump.kill("SIGINT");
      await end;
      return packets();
    },
  };
}
