import type { Place } from "../../src/lab/place.ts";
import { ended } from "../../src/lab/program.ts";
import type { Abortable } from "../../src/lib/abortable.ts";
import { saysOnce } from "../support/tcp.ts";

interface FloodOptions extends Abortable {
  readonly to: string;
  readonly port: number;
  /** Datagrams a second, at most as many as can be. */
  readonly rate: number;
  /** Of vxlan, if they are to look like its. */
  readonly vni?: number;
}

/** Sends a host small datagrams as long as an action takes. @returns how many there were a second, and what the action returned */
export async function floodDuring<T>(
  from: Pick<Place, "spawn">,
  { to, port, rate, vni, signal }: FloodOptions,
  action: () => Promise<T>,
): Promise<{ readonly perSecond: number; readonly sent: number; readonly result: T }> {
  const program = new URL("./flood-program.ts", import.meta.url).pathname;
  const argv = [process.execPath, program, to, String(port), String(rate), ...(vni === undefined ? [] : [String(vni)])];
  const child = from.spawn(argv, { stdio: ["ignore", "pipe", "inherit"] });
  const end = ended(child);
  try {
    let said = "";
    child.stdout?.on("data", (more) => (said += more));
    await saysOnce(child.stdout, "flooding", { signal });
    const result = await action();
    child.kill("SIGTERM");
    await end;
    const { sent, seconds } = JSON.parse(said.trimEnd().split("\n").at(-1) ?? "");
    return { perSecond: sent / seconds, sent, result };
  } finally {
    child.kill("SIGKILL");
  }
}
