import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { InvalidConfigError } from "../../lib/errors.ts";

/** A text that a person is editing: in a file of a directory of its own, which stays until it is discarded. */
export interface Draft {
  readonly file: string;
  readonly text: string;
  discard(): Promise<void>;
}

/**
 * Lets the person change a text in the editor of `$VISUAL` or `$EDITOR`, else vi.
 * @throws {InvalidConfigError} if the editor cannot be run or says that it failed
 */
export async function editText(
  text: string,
  name: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Draft> {
  const editor = env["VISUAL"] || env["EDITOR"] || "vi";
  const file = join(await mkdtemp(join(tmpdir(), "flannel-")), name);
  await writeFile(file, text, { mode: 0o600 });
  // The variable holds a command with arguments, as "code --wait": only a shell takes it apart as people expect.
  const child = spawn("/bin/sh", ["-c", `${editor} "$1"`, "sh", file], { stdio: "inherit" });
  const [code, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
  if (code !== 0) {
    await rm(dirname(file), { recursive: true });
    throw new InvalidConfigError(
      "",
      `the editor ${editor} ended with ${signal ?? `exit code ${code}`}; nothing was changed`,
    );
  }
  return {
    file,
    text: await readFile(file, "utf8"),
    discard: () => rm(dirname(file), { recursive: true }),
  };
}
