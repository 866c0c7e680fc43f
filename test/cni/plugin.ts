import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ExecuteOptions, execute, type ProgramResult } from "../../src/lab/program.ts";

/** The plugin as runtimes start it. */
export { flannelCni as plugin } from "../cli/program.ts";

/** Where Debian's containernetworking-plugins are. */
export const REAL_PLUGINS = "/usr/lib/cni";

export interface CniCall {
  readonly command: string;
  /** An object, or text that is none. */
  readonly config?: object | string;
  readonly containerID?: string;
  readonly ifname?: string;
  readonly netns?: string;
  readonly path?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface CniAnswer extends ProgramResult {
  /** Standard output as JSON; undefined if there is none. */
  readonly json: { readonly code?: number; readonly msg?: string; readonly [key: string]: unknown } | undefined;
}

type Execute = (argv: readonly string[], options: ExecuteOptions) => Promise<ProgramResult>;

const { signal } = new AbortController();

/** What a runtime tells a plugin by its environment. */
export function pluginEnvironment(call: CniCall): NodeJS.ProcessEnv {
  const { command, containerID = "c1", ifname = "eth0", netns = "", path = "", env = {} } = call;
  return {
    PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
    CNI_COMMAND: command,
    CNI_CONTAINERID: containerID,
    CNI_IFNAME: ifname,
    CNI_NETNS: netns,
    CNI_PATH: path,
    ...env,
  };
}

/** Runs one plugin by the protocol of CNI. @param run where: on this machine, or on a host of a lab */
export async function callPlugin(program: string, call: CniCall, run: Execute = execute): Promise<CniAnswer> {
  const { config = "" } = call;
  const result = await run([program], {
    signal,
    input: typeof config === "string" ? config : JSON.stringify(config),
    env: pluginEnvironment(call),
  });
  return {
    ...result,
    json: result.stdout.trim() === "" ? undefined : (JSON.parse(result.stdout) as CniAnswer["json"]),
  };
}

const FAKE = `#!/bin/sh
here=$(dirname "$0")
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME begin" >> "$here/calls"
cat > "$here/config"
env | grep ^CNI_ | sort > "$here/environment"
[ ! -e "$here/run" ] || . "$here/run"
[ ! -e "$here/answer" ] || cat "$here/answer"
echo "a word to the administrator" >&2
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME end" >> "$here/calls"
exit "$(cat "$here/code" 2>/dev/null || echo 0)"
`;

/** A plugin that does nothing but write down how it was called, and answers as it is told. */
export class FakeDelegate {
  readonly directory: string;

  constructor(directory: string, type = "bridge") {
    mkdirSync(directory, { recursive: true });
    this.directory = directory;
    writeFileSync(join(directory, type), FAKE);
    chmodSync(join(directory, type), 0o755);
  }

  /** Shell commands to run before the answer, and what the answer is. */
  behave({ run = "", answer = "", code = 0 }: { run?: string; answer?: string; code?: number }): void {
    writeFileSync(join(this.directory, "run"), run);
    writeFileSync(join(this.directory, "answer"), answer);
    writeFileSync(join(this.directory, "code"), String(code));
  }

  /** `ADD c1 eth0 begin`, `ADD c1 eth0 end`, … */
  get calls(): readonly string[] {
    return this.#read("calls").split("\n").filter(Boolean);
  }

  /** The commands that it has ended. */
  get ended(): readonly string[] {
    return this.calls.filter((line) => line.endsWith(" end")).map((line) => line.replace(/ end$/, ""));
  }

  /** What it read last. */
  get config(): { readonly [key: string]: unknown } {
    return JSON.parse(this.#read("config")) as { readonly [key: string]: unknown };
  }

  get environment(): string {
    return this.#read("environment");
  }

  #read(name: string): string {
    try {
      return readFileSync(join(this.directory, name), "utf8");
    } catch {
      return "";
    }
  }
}
