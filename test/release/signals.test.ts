// How what a release installs ends: by signals at any moment, also as the first process of a container, and by its exit codes.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { flanneld, run, temporaryDirectory, waitingFlanneld } from "../cli/program.ts";
import { type StopOptions, stopAfter } from "../cli/stop-after.ts";
import { architecture, one, output, release } from "./release.ts";

/** Where the tarball is unpacked. */
let prefix: string;
const released = () => join(prefix, "bin/flanneld");

beforeAll(() => {
  prefix = mkdtempSync(join(tmpdir(), "flannel-prefix-"));
  output("tar", "-xzf", one(release(), `-linux-${architecture}.tar.gz`), "--strip-components=1", "-C", prefix);
}, 900_000);

afterAll(() => rmSync(prefix, { recursive: true, force: true }));

async function stop(options: StopOptions, before: readonly string[] = []) {
  using directory = temporaryDirectory();
  return await stopAfter([...before, released(), ...waitingFlanneld(directory.path)], options);
}

const inOrder = (delay: number) => ({ delay, end: 0, inTime: true, errors: null });

test.each(["SIGTERM", "SIGINT"] as const)(
  "flanneld ends with 0 within a second of %s from its first milliseconds on",
  async (signal) => {
    for (let delay = 0; delay <= 300; delay += 8)
      expect(await stop({ delay, signal, from: "listening" })).toEqual(inOrder(delay));
    for (let delay = 0; delay <= 100; delay += 20)
      expect(await stop({ delay, signal, from: "heard" })).toEqual(inOrder(delay));
  },
);

/** The kernel keeps from a namespace's first process what it does not catch. */
const IN_CONTAINER = ["/usr/bin/unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--"];

test("as the first process of a container, it hears SIGTERM from the beginning and ends with 0", async () => {
  const target = (pid: number) => {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim();
    return children === "" ? undefined : Number(children);
  };
  const before = ["/bin/sh", "-c", 'exec "$@"', "sh", ...IN_CONTAINER];
  for (let delay = 0; delay <= 300; delay += 20)
    expect(await stop({ delay, from: "listening", signal: "SIGTERM", target }, before)).toEqual(inOrder(delay));
  expect(await stop({ delay: 0, from: "heard", signal: "SIGTERM", target }, before)).toEqual(inOrder(0));
});

test("under a service manager it is one process, which ends with 0 or by the signal itself", async () => {
  for (let delay = 8; delay <= 200; delay += 16) {
    const { end, ...rest } = await stop({
      delay,
      from: "spawned",
      signal: "SIGTERM",
      env: { NOTIFY_SOCKET: "@nobody" },
    });
    expect({ ...rest, end: end === "SIGTERM" ? 0 : end }).toEqual(inOrder(delay));
  }
});

test.each([["--version"], ["--help"], ["--no-such-flag"], ["--etcd-endpoints="], ["--iface=nonexistent0"]])(
  "flanneld %s says the same as in the sources' tree and ends with the same code",
  async (flag) => {
    using directory = temporaryDirectory();
    const args = flag === "--iface=nonexistent0" ? [...waitingFlanneld(directory.path, "nonexistent0")] : [flag];
    const [ours, theirs] = [await run(released(), args), await run(flanneld, args)];
    const stable = (text: string) =>
      text.replace(/^[IWEF]\d{4} \S+ +\d+/gm, "").replace(/^\d+\.\d+\.\d+.*$/m, "VERSION");
    expect({ ...ours, stderr: stable(ours.stderr) }).toEqual({ ...theirs, stderr: stable(theirs.stderr) });
  },
);
