import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const cache = fileURLToPath(new URL("../../dist/cache/", import.meta.url));

/**
 * A fresh Debian without Node, in a directory of its own. Debian's registry is asked once; later ones are copies.
 * Nothing in it is mounted, so that it can be removed as a directory.
 */
export function debianRoot(): Root {
  const template = join(cache, "root-bookworm");
  if (!existsSync(template)) {
    mkdirSync(cache, { recursive: true });
    rmSync(`${template}.new`, { recursive: true, force: true });
    execFileSync("mmdebstrap", ["--quiet", "--mode=root", "--variant=minbase", "bookworm", `${template}.new`], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    renameSync(`${template}.new`, template);
  }
  const path = mkdtempSync(join(tmpdir(), "flannel-root-"));
  execFileSync("cp", ["-a", `${template}/.`, path]);
  return new Root(path);
}

/** Mounts what a program expects of a system, where nobody else sees it, and becomes the program, inside of the root. */
const ENTER = `
mount -t proc proc "$1/proc" && mount -t sysfs sysfs "$1/sys" && mount --rbind /dev "$1/dev" && mount -t tmpfs tmpfs "$1/run" &&
{ [ -z "$2" ] || { mkdir -p "$1$2" && mount --bind "$2" "$1$2"; }; } || exit 125
root=$1; shift 2; exec chroot "$root" "$@"`;

/** A system in a directory. */
export class Root implements Disposable {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** A command line that runs a program in here; from the network namespace that it is run in. @param shared a directory of this machine that is there, too */
  enter(argv: readonly string[], shared = ""): readonly string[] {
    return ["unshare", "--mount", "--", "/bin/sh", "-c", ENTER, "sh", this.path, shared, ...argv];
  }

  /** Runs a program in here, with nothing in its environment. @returns what it printed @throws if it fails */
  run(...argv: readonly string[]): string {
    const [command = "", ...args] = this.enter(argv);
    const env = {
      PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      DEBIAN_FRONTEND: "noninteractive",
    };
    return execFileSync(command, args, { env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  }

  /** Brings files of this machine in. */
  bring(file: string, to: string): void {
    cpSync(file, join(this.path, to));
  }

  /** All files but those of dpkg and apt and what is mounted, to compare. */
  files(): readonly string[] {
    const skipped = ["dev", "proc", "sys", "run", "var/lib/dpkg", "var/lib/apt", "var/log", "var/cache"];
    const paths = skipped.flatMap((path) => ["-o", "-path", `./${path}`]).slice(1);
    const found = execFileSync("find", [".", "(", ...paths, ")", "-prune", "-o", "-print"], {
      cwd: this.path,
      encoding: "utf8",
    });
    return found.split("\n").map((path) => path.slice(2));
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
