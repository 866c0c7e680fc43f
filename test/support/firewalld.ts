import { once } from "node:events";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import type { Abortable } from "../../src/lib/abortable.ts";

/** A name that only programs of the same network namespace see. */
const BUS = "unix:abstract=/flannel-test/system-bus";

const BUS_CONFIG = `<busconfig>
  <type>system</type>
  <auth>EXTERNAL</auth>
  <listen>${BUS}</listen>
  <policy context="default">
    <allow user="*"/> <allow own="*"/> <allow send_type="method_call"/> <allow send_type="signal"/>
    <allow send_type="method_return"/> <allow send_type="error"/>
    <allow receive_type="method_call"/> <allow receive_type="signal"/>
    <allow receive_type="method_return"/> <allow receive_type="error"/>
  </policy>
</busconfig>
`;

const ENV = { ...process.env, DBUS_SYSTEM_BUS_ADDRESS: BUS };

/** In a view of the files of its own it has a `/run` of its own; `$1`, its directory, may be below the machine's. */
const START = `cd "$1" && mount -t tmpfs tmpfs /run &&
  exec firewalld --nofork --nopid --system-config settings --log-target file --log-file firewalld.log`;

/** Debian's firewalld on a host of a lab, with a system bus and settings that are that host's. Both end with the lab. */
export class Firewalld {
  readonly #host: LabHost;

  /**
   * @param backend what it keeps its rules with
   * @param zone of all links that are in no other
   * @returns once its rules stand
   */
  static async start(
    host: LabHost,
    { backend, zone, signal }: Abortable & { readonly backend: "nftables" | "iptables"; readonly zone: string },
  ): Promise<Firewalld> {
    cpSync("/etc/firewalld", join(host.directory, "settings"), { recursive: true });
    const file = join(host.directory, "settings", "firewalld.conf");
    const text = readFileSync(file, "utf8")
      .replace(/^FirewallBackend=.*$/m, `FirewallBackend=${backend}`)
      .replace(/^DefaultZone=.*$/m, `DefaultZone=${zone}`);
    writeFileSync(file, text);
    const bus = join(host.directory, "bus.conf");
    writeFileSync(bus, BUS_CONFIG);
    await host.run(["dbus-daemon", `--config-file=${bus}`, "--fork", "--nopidfile"]); // it returns when it listens
    const program = host.spawn(["sh", "-c", START, "sh", host.directory], { env: ENV, stdio: "ignore" });
    const started = waitUntil(async () => (await host.exec(["firewall-cmd", "--state"], { env: ENV })).code === 0, {
      signal,
      within: 60_000,
      every: 100,
      what: "firewalld has started",
    });
    const end = once(program, "exit").then(([code]) => {
      throw new Error(`firewalld ended with ${code}`);
    });
    end.catch(() => {}); // later it is meant to
    await Promise.race([started, end]);
    return new Firewalld(host);
  }

  private constructor(host: LabHost) {
    this.#host = host;
  }

  /** What somebody types at this host's shell. @throws unless it exits with 0 */
  async type(command: string): Promise<void> {
    await this.#host.run(["sh", "-c", command], { env: ENV });
  }
}
