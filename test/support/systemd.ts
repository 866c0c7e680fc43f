import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ProcessId, processId } from "../../src/kernel/process-id.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import type { Place } from "../../src/lab/place.ts";
import { signalProcess } from "../../src/lab/processes.ts";
import { execute, type ProgramResult, run } from "../../src/lab/program.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { parseSubnetEnv, type SubnetEnv } from "../../src/lease/subnet-env.ts";
import type { Abortable } from "../../src/lib/abortable.ts";
import { root } from "../cli/program.ts";

/** Ample for a slow machine. */
const PATIENCE = 60_000;

/** What our units and systemd itself name. All of Debian's own units are hidden: they would work on the machine. */
const TARGETS = ["sysinit", "basic", "multi-user", "network-online", "sockets", "paths", "shutdown", "umount"];

/** What programs look up. */
const ETC = [
  "passwd",
  "group",
  "nsswitch.conf",
  "hosts",
  "resolv.conf",
  "ld.so.cache",
  "ld.so.conf",
  "ssl",
  "alternatives",
];

/**
 * A control group of its own, and in it a pid namespace whose first process is systemd. What systemd and services write to is in memory,
 * and flannel stands where a person would put it: /opt/flannel, and a link in /usr/local/bin.
 * $1 this folder, $2 the units, $3 a directory that is seen inside, $4 the control group's name, $5 an empty directory
 */
const BOOT = `
set -e
mount --make-rprivate /
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p "/sys/fs/cgroup/$4"
echo $$ >"/sys/fs/cgroup/$4/cgroup.procs"
exec unshare --mount --pid --fork --kill-child --cgroup --uts --ipc sh -ec '
  mount -t proc proc /proc
  umount /sys/fs/cgroup
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  mount -t tmpfs tmpfs "$5"
  mkdir "$5/flannel" "$5/units" "$5/seen" "$5/etc"
  mount --bind "$1" "$5/flannel"
  mount --bind "$2" "$5/units"
  mount --bind "$3" "$5/seen"
  for name in ${ETC.join(" ")}; do if [ -e /etc/$name ]; then cp -a /etc/$name "$5/etc/"; fi; done
  mount --rbind "$5" /opt
  mount -t tmpfs tmpfs /etc
  cp -a /opt/etc/. /etc/
  echo 0123456789abcdef0123456789abcdef >/etc/machine-id
  mkdir -p /etc/systemd /etc/flannel
  cp -r /opt/units /etc/systemd/system
  for directory in /run /tmp /var/lib /usr/local/bin /usr/lib/systemd/system /usr/lib/systemd/system-generators; do
    mount -t tmpfs tmpfs $directory
  done
  mkdir -p /run/systemd/system
  ln -s /opt/flannel/bin/flanneld /opt/flannel/bin/flannel /usr/local/bin/
  export container=flannel-test
  exec /lib/systemd/systemd --system --unit=multi-user.target --log-target=null --show-status=no
' sh "$@"`;

/** systemd on a host of a lab, the real one with all that it does to services. Needs root. */
export class Systemd implements AsyncDisposable {
  readonly #host: Place;
  readonly #directory: string;
  readonly #group: string;
  #init: ProcessId | undefined;

  /** @param host a host of a lab, which ends what is in its namespace */
  static async boot(host: LabHost, { signal }: Abortable): Promise<Systemd> {
    const systemd = new Systemd(host);
    await systemd.#boot(signal);
    return systemd;
  }

  private constructor(host: LabHost) {
    this.#host = host;
    this.#directory = join(host.directory, "systemd");
    this.#group = `flannel-${host.namespace.name}`;
  }

  async #boot(signal: AbortSignal): Promise<void> {
    const units = join(this.#directory, "units");
    mkdirSync(join(this.#directory, "seen"), { recursive: true });
    mkdirSync(units);
    for (const target of TARGETS) writeFileSync(join(units, `${target}.target`), "[Unit]\nDefaultDependencies=no\n");
    const [seen, stage] = [join(this.#directory, "seen"), join(this.#directory, "stage")];
    mkdirSync(stage);
    const argv = ["sh", "-c", BOOT, "sh", root, units, seen, this.#group, stage];
    const log: string[] = [];
    const child = this.#host.spawn(argv, { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [child.stdout, child.stderr]) stream?.on("data", (text: Buffer) => log.push(text.toString()));
    const ended = once(child, "exit");
    void ended.catch(() => {});
    await waitUntil(
      async () => {
        if (child.exitCode !== null) throw new Error(`systemd ended with ${child.exitCode}: ${log.join("")}`);
        this.#init = firstInside(child.pid ?? 0);
        if (this.#init === undefined) return false;
        const { stdout } = await this.exec(["systemctl", "is-system-running"], { signal });
        return /running|degraded/.test(stdout);
      },
      { signal, within: PATIENCE, every: 100, what: "systemd has started" },
    );
    await this.run(["cp", "-r", "/opt/flannel/dist/systemd/system/.", "/etc/systemd/system/"], { signal });
    await this.run(["rm", "-r", "/etc/systemd/system/flanneld.service.d"], { signal });
    for (const unit of ["flanneld", "flannel-server"])
      await this.write(
        `/etc/systemd/system/${unit}.service.d/log.conf`,
        "[Service]\nStandardError=append:/opt/seen/log\n",
        { signal },
      );
    await this.run(["systemctl", "daemon-reload"], { signal });
  }

  /** Runs a program where services run, but for their sandbox. */
  exec(argv: readonly string[], options: Abortable & { readonly input?: string }): Promise<ProgramResult> {
    return execute(["nsenter", `--target=${this.#init?.pid}`, "--all", ...argv], options);
  }

  /** As `exec()`. @returns its standard output @throws unless it exits with 0 */
  run(argv: readonly string[], options: Abortable & { readonly input?: string }): Promise<string> {
    return run(["nsenter", `--target=${this.#init?.pid}`, "--all", ...argv], options);
  }

  async write(path: string, text: string, { signal }: Abortable): Promise<void> {
    await this.run(["sh", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1"', "sh", path], { signal, input: text });
  }

  async systemctl(...args: readonly string[]): Promise<string> {
    return await this.run(["systemctl", ...args], { signal: AbortSignal.timeout(PATIENCE) });
  }

  /** Of `systemctl show`. */
  async property(unit: string, name: string): Promise<string> {
    return (await this.systemctl("show", unit, `--property=${name}`, "--value")).trim();
  }

  /** Waits until a property is so. @returns it */
  async until(unit: string, name: string, condition: (value: string) => boolean): Promise<string> {
    let value = "";
    try {
      return await waitUntil(async () => condition((value = await this.property(unit, name))) && value, {
        signal: new AbortController().signal,
        within: PATIENCE,
        every: 100,
        what: `${name} of ${unit}`,
      });
    } catch (error) {
      throw new Error(`${unit} has ${name}=${value}; its log:\n${this.log()}`, { cause: error });
    }
  }

  /** A line of /proc/PID/status of the unit's main process. */
  async processStatus(unit: string, field: string): Promise<string> {
    const status = await this.run(["cat", `/proc/${await this.property(unit, "MainPID")}/status`], {
      signal: AbortSignal.timeout(PATIENCE),
    });
    return new RegExp(`^${field}:\\s+(.*)$`, "m").exec(status)?.[1] ?? "";
  }

  async subnetEnv(path = "/run/flannel/subnet.env"): Promise<SubnetEnv> {
    return parseSubnetEnv(await this.run(["cat", path], { signal: AbortSignal.timeout(PATIENCE) }));
  }

  /** What the services have written to their standard error. */
  log(): string {
    try {
      return readFileSync(join(this.#directory, "seen", "log"), "utf8");
    } catch {
      return "";
    }
  }

  /** Ends all of it; its control groups, which no namespace takes away, go too. */
  async [Symbol.asyncDispose](): Promise<void> {
    const signal = AbortSignal.timeout(PATIENCE);
    if (this.#init !== undefined) signalProcess(this.#init, "SIGKILL"); // the lab may have ended it already
    const directory = mkdtempSync(join(tmpdir(), "flannel-cgroup-")); // the lab's own is gone by now
    await run(["mount", "-t", "cgroup2", "cgroup2", directory], { signal });
    try {
      const group = join(directory, this.#group);
      await waitUntil(() => readFileSync(join(group, "cgroup.events"), "utf8").includes("populated 0"), {
        signal,
        within: PATIENCE,
        what: "all its processes have ended",
      });
      removeTree(group);
    } finally {
      await run(["umount", directory], { signal });
      rmdirSync(directory);
    }
  }
}

/** systemd, as this namespace sees it: the child of what was unshared. Undefined if it is not there yet. */
function firstInside(outer: number): ProcessId | undefined {
  const children = (pid: number) => {
    try {
      return readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim().split(" ").filter(Boolean).map(Number);
    } catch {
      return [];
    }
  };
  const pid = children(outer).find((each) => readFileSync(`/proc/${each}/comm`, "latin1").trim() === "systemd");
  return pid === undefined ? undefined : processId(pid);
}

/** Directories are all that can be removed there. */
function removeTree(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true }))
    if (entry.isDirectory()) removeTree(join(directory, entry.name));
  rmdirSync(directory);
}
