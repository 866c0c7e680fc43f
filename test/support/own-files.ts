import { once } from "node:events";
import { text } from "node:stream/consumers";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { Service } from "../../src/lab/service.ts";
import { root } from "../cli/program.ts";

/** What is written to, in memory; and flannel stands where a person would put it. $1 is this folder. */
const MOUNT = `
mount --make-rprivate /
for directory in /run /var/lib /usr/local/bin; do mount -t tmpfs tmpfs $directory; done
ln -s "$1/bin/flanneld" "$1/bin/flannel" /usr/local/bin/
echo ready
exec sleep infinity`;

/** A host of a lab with /run and /var/lib of its own, where commands work as they are written for a machine of one's own. Needs root. */
export class OwnFiles {
  readonly host: LabHost;
  readonly #pid: number;
  readonly #directory: string;
  /** Of its commands, beside the machine's own. */
  readonly env: Record<string, string> = {};

  /** @param directory where its commands are run; it may be that of other hosts, too */
  static async mount(host: LabHost, directory: string): Promise<OwnFiles> {
    const argv = ["unshare", "--mount", "sh", "-ec", MOUNT, "sh", root];
    const holder = host.spawn(argv, { stdio: ["ignore", "pipe", "pipe"] });
    if (holder.stdout === null || holder.stderr === null) throw new Error("output is not piped");
    const said = await Promise.race([once(holder.stdout, "data"), text(holder.stderr)]);
    if (String(said) !== "ready\n") throw new Error(`${host.name} cannot have files of its own: ${String(said)}`);
    return new OwnFiles(host, holder.pid ?? 0, directory);
  }

  private constructor(host: LabHost, pid: number, directory: string) {
    this.host = host;
    this.#pid = pid;
    this.#directory = directory;
  }

  #inside(command: string): readonly string[] {
    const enter = ["nsenter", `--target=${this.#pid}`, "--mount", `--wd=${this.#directory}`];
    const variables = Object.entries(this.env).map(([name, value]) => `${name}=${value}`);
    return [...enter, "env", ...variables, "sh", "-c", command];
  }

  /** Runs a shell's command to its end. @returns what it printed, errors too @throws unless it exits with 0 */
  run(command: string): Promise<string> {
    return this.host.run(this.#inside(`exec 2>&1; ${command}`));
  }

  /** Starts a daemon by a shell's command. */
  async start(name: string, command: string): Promise<Service> {
    const { namespace } = this.host;
    const signal = new AbortController().signal;
    const argv = this.#inside(`exec ${command}`);
    const service = new Service({ name, argv, namespace, signal, directory: this.#directory });
    await service.start();
    return service;
  }
}
