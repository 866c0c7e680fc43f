import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chownSync,
  closeSync,
  cpSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { openKeeper } from "../../src/cli/open-keeper.ts";
import { describeDescriptorKeeper } from "../../src/kernel/descriptor-keeper-conformance.ts";
import { isAlive, processId } from "../../src/kernel/process-id.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { ceiling } from "../e2e/hosts.ts";
import { within } from "../support/within.ts";
import { type Daemon, distinct, Place, range } from "./daemons.ts";

// Needs root for network namespaces.

const NOBODY = 65534;

function place(): Place {
  const place = new Place();
  onTestFinished(() => place[Symbol.dispose]());
  return place;
}

describeDescriptorKeeper("HolderKeeper", () => {
  const stateDir = mkdtempSync(join(tmpdir(), "flannel-holder-"));
  const open = () =>
    openKeeper({ network: "", stateDir, timeout: 60_000, env: {}, inherited: [], logger: silentLogger });
  const descriptors: number[] = [];
  return {
    open,
    descriptor: () => {
      const fd = openSync(join(stateDir, `file${descriptors.length}`), "w");
      descriptors.push(fd);
      return fd;
    },
    identity: (fd) => fstatSync(fd).ino,
    [Symbol.dispose]() {
      for (const fd of descriptors) closeSync(fd);
      for (const { pid } of holdersOf(stateDir)) process.kill(pid, "SIGKILL");
      rmSync(stateDir, { recursive: true });
    },
  };
});

function holdersOf(stateDir: string) {
  const record = recordIn(stateDir);
  return record === undefined ? [] : [record.holder as { pid: number }];
}

function recordIn(stateDir: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(readFileSync(join(stateDir, "handover.json"), "utf8")) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

describe("a daemon's end", () => {
  test.each(["SIGTERM", "SIGKILL", "SIGINT", "crash"] as const)(
    "HolderKeeper loses no datagram that is sent while no daemon runs, after %s",
    async (how) => {
      const host = place();
      const first = host.start();
      await first.says("kept");
      await host.sent(1, 20);
      await first.until(() => first.got.length === 20, "20 datagrams");
      await first.end(how);
      await host.sent(21, 120);
      const second = host.start();
      await second.says("taken");
      await host.sent(121, 130);
      await second.until(() => distinct(first, second).length >= 130, "all datagrams");
      expect(distinct(first, second)).toEqual(range(1, 130));
    },
  );

  test("HolderKeeper loses no datagram over ten restarts under way, five of them by SIGKILL", async () => {
    const host = place();
    const former: Daemon[] = [];
    let daemon = host.start();
    await daemon.says("kept");
    const stop = host.sending(0.015);
    for (let restart = 0; restart < 10; restart++) {
      await daemon.until(() => daemon.got.length > 10, "datagrams");
      await daemon.end(restart % 2 === 0 ? "SIGKILL" : "SIGTERM");
      former.push(daemon);
      daemon = host.start();
      await daemon.says("kept");
    }
    const last = await stop();
    await daemon.until(() => daemon.got.includes(last), "the last datagram");
    expect(distinct(...former, daemon)).toEqual(range(1, last));
  });

  test("HolderKeeper leaves its descriptor to the next daemon also if it is killed while it changes the record", async () => {
    const host = place();
    const record = join(host.directory, "state", "handover.json");
    let daemon = host.start();
    await daemon.says("kept");
    for (let round = 0; round < 10; round++) {
      await daemon.end("SIGKILL");
      daemon = host.start();
      await daemon.says("taken");
      const taken = statSync(record).ino;
      // Not by events: the moment is shorter than one takes to arrive.
      for (const end = performance.now() + 1_000; statSync(record).ino === taken && performance.now() < end; );
    }
  });

  test("HolderKeeper's holder survives the end of the launcher's shell by a Ctrl-C to all, and the daemon's with it", async () => {
    const host = place();
    const launcher = [
      "setsid",
      "sh",
      "-c",
      'trap "kill -KILL $$" INT; setpriv --pdeathsig KILL "$@" & wait',
      "flanneld",
    ];
    const first = host.start({ by: launcher });
    await first.says("kept");
    const shell = first.pid ?? 1;
    expect(command(shell)).toContain("setpriv --pdeathsig");
    process.kill(-shell, "SIGINT"); // the whole group, of which it is the first
    await first.ended();
    await host.sent(1, 5);
    const second = host.start();
    await second.until(() => second.got.length === 5, "what was sent meanwhile");
    expect(second.lines).toContain("taken");
  });
});

function command(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
}

describe("--handover-timeout", () => {
  test("HolderKeeper's holder ends after it, and the port is free", async () => {
    const host = place();
    const first = host.start({ timeout: 2 });
    await first.says("kept");
    await first.end("SIGTERM");
    expect(host.isFree()).toBe(false);
    const ended = first.until(() => host.holders.length === 0, "the holder's end");
    await within(ceiling(2_000), "the holder ends", ended);
    expect(host.isFree()).toBe(true);
    const second = host.start({ timeout: 1 });
    await second.says("kept");
    expect(second.lines).toContain("bound");
    expect(second.lines.join()).not.toContain("warn");
  });

  test("HolderKeeper keeps nothing if it is 0, but takes what a daemon with another one left", async () => {
    const host = place();
    const first = host.start();
    await first.says("kept");
    await first.end("SIGTERM");
    await host.sent(1, 3);
    const second = host.start({ timeout: 0 });
    await second.says("kept");
    await second.until(() => second.got.length === 3, "what was sent meanwhile");
    expect(host.holders).toEqual([]);
    await second.end("SIGTERM");
    expect(host.isFree()).toBe(true);
    expect(readdirSync(join(host.directory, "state"))).toEqual([]);
  });
});

describe("who may take", () => {
  test("HolderKeeper robs no living daemon", async () => {
    const host = place();
    const first = host.start();
    await first.says("kept");
    const [holder] = host.holders;
    const second = host.start();
    await second.ended(); // by EADDRINUSE
    expect(second.lines.find((line) => line.startsWith("warn"))).toBe(
      `warn: another daemon with this state directory is running {"pid":${first.pid}}`,
    );
    expect(second.lines).not.toContain("taken");
    expect(host.holders).toEqual([holder]);
    await host.sent(1, 3);
    await first.until(() => first.got.length === 3, "its datagrams");
  });

  test("HolderKeeper waits for a daemon that is just ending", async () => {
    const host = place();
    const first = host.start();
    await first.says("kept");
    await host.sent(1, 3);
    await first.until(() => first.got.length === 3, "its datagrams");
    const second = host.start();
    await second.says("environment");
    await new Promise((resolve) => setTimeout(resolve, 300)); // of the two seconds that it waits
    expect(second.lines.join()).not.toContain("taken");
    await first.end("SIGTERM");
    await second.says("taken");
    await host.sent(4, 6);
    await second.until(() => second.got.length === 3, "its datagrams");
    expect([...first.got, ...second.got]).toEqual(range(1, 6));
  });

  test("HolderKeeper gives nothing to another user", async () => {
    const host = place();
    const first = host.start();
    await first.says("kept");
    await first.end("SIGTERM");
    const [holder] = host.holders;
    execFileSync("chmod", ["755", host.directory]);
    const foreign = join(host.directory, "foreign");
    mkdirSync(foreign);
    cpSync(join(host.directory, "state", "handover.json"), join(foreign, "handover.json"));
    for (const path of [foreign, join(foreign, "handover.json")]) chownSync(path, NOBODY, NOBODY);
    const by = ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"];
    const thief = host.start({ state: "foreign", by });
    await thief.says("failed: SystemCallError: bind: EADDRINUSE");
    expect(await thief.says("warn")).toContain("it is another user's");
    expect(host.holders).toEqual([holder]);
    const second = host.start();
    await second.says("taken");
  });

  test("HolderKeeper does without where the kernel forbids to take, and the port is free all the same", async () => {
    const host = place();
    const first = host.start();
    await first.says("kept");
    await first.end("SIGTERM");
    const second = host.start({ by: ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] }); // less than the holder has
    await second.says("kept");
    expect(second.lines.filter((line) => line.startsWith("warn"))).toEqual([
      'warn: what the daemon before left cannot be taken over {"reason":"pidfd_getfd: EPERM"}',
    ]);
    expect(second.lines).toContain("bound");
    await second.end("SIGKILL");
    const third = host.start();
    await third.says("taken");
  });

  test("HolderKeeper never mixes the daemons of two state directories", async () => {
    const host = place();
    const ours = { state: "ours", port: 9000 };
    const theirs = { state: "theirs", port: 9001 };
    for (const options of [ours, theirs]) {
      const daemon = host.start(options);
      await daemon.says("kept");
      await daemon.end("SIGKILL");
    }
    await host.sent(1, 3, { port: 9001 });
    await host.sent(4, 6, { port: 9000 });
    for (const [options, got] of [
      [ours, range(4, 6)],
      [theirs, range(1, 3)],
    ] as const) {
      const daemon = host.start(options);
      await daemon.says("taken");
      await daemon.until(() => daemon.got.length === 3, "its datagrams");
      expect(daemon.got).toEqual(got);
    }
  });
});

describe("the holder", () => {
  test("HolderKeeper's holder has the descriptors and nothing else of the daemon", async () => {
    const host = place();
    // What a careless parent leaves open; Node itself looks no further than the first gap.
    const by = ["bash", "--norc", "-c", 'exec 7<&0 60<&0; exec "$@"', "bash"];
    const first = host.start({ by, env: { SECRET: "x" } });
    await first.says("kept");
    const { holder } = host;
    const open = readdirSync(`/proc/${holder}/fd`);
    expect(open).toEqual(["0", "1", "2", "3"]);
    expect(readlinkSync(`/proc/${holder}/fd/1`)).toBe("/dev/null");
    expect(readlinkSync(`/proc/${holder}/fd/2`)).toBe("/dev/null");
    expect(readlinkSync(`/proc/${holder}/cwd`)).toBe("/");
    expect(readFileSync(`/proc/${holder}/environ`, "utf8")).not.toContain("SECRET");
    const [, session] = /\) \S+ \d+ \d+ (\d+) /.exec(readFileSync(`/proc/${holder}/stat`, "latin1")) ?? [];
    expect(session).toBe(String(holder));
    await first.end("SIGTERM");
    await first.until(() => command(holder).includes("sleep"), "the holder sleeps");
    expect(readdirSync(`/proc/${holder}/fd`)).toEqual(open);
  });

  test("HolderKeeper has one holder at a time", async () => {
    const host = place();
    for (let run = 0; run < 3; run++) {
      const daemon = host.start();
      await daemon.says("kept");
      expect(host.holders).toHaveLength(1);
      await daemon.end(run === 1 ? "SIGKILL" : "SIGTERM");
    }
  });

  test("HolderKeeper says so, and goes on, if somebody ends the holder", async () => {
    const host = place();
    const first = host.start();
    await first.says("kept");
    process.kill(host.holder, "SIGKILL");
    expect(await first.says("warn")).toContain("descriptors are not kept: a restart will lose packets");
    await first.end("SIGTERM");
    const second = host.start();
    await second.says("kept");
    expect(second.lines).toContain("bound");
    process.kill(host.holder, "SIGTERM"); // as a service manager that stops the daemon
    await second.until(() => host.holders.length === 0, "no holder");
    await second.end("SIGTERM");
    expect(second.lines.filter((line) => line.startsWith("warn"))).toEqual([]);
  });

  test.each(["sleep", "dash"])("HolderKeeper says once that it cannot keep anything without %s", async (program) => {
    const host = place();
    const by = [
      "unshare",
      "--mount",
      "bash",
      "--norc",
      "-c",
      `mount --bind /dev/null /usr/bin/${program} && exec "$@"`,
      "bash",
    ];
    const first = host.start({ by });
    await first.says("kept");
    const warnings = first.lines.filter((line) => line.startsWith("warn"));
    expect(warnings).toEqual([
      `warn: descriptors are not kept: a restart will lose packets {"reason":"${program === "dash" ? "/bin/sh" : program} is not installed"}`,
    ]);
    expect(host.holders).toEqual([]);
  });

  test("HolderKeeper has no holder if it cannot say where it is", async () => {
    const host = place();
    writeFileSync(join(host.directory, "state"), "a file, no directory");
    const first = host.start();
    await first.says("kept");
    expect(first.lines.find((line) => line.includes("not kept"))).toMatch(/EEXIST|ENOTDIR/);
    await first.until(() => host.holders.length === 0, "no holder");
  });
});

describe("a record that makes no sense", () => {
  test.each([
    ["garbage", () => "garbage", true],
    ["nothing", () => "", true],
    ["of before a reboot", (text: string) => text.replace(/"pidsOf":"[^"]*"/, '"pidsOf":"x"'), false],
    ["with names it does not have", (text: string) => text.replace('"udp"', '"x","udp"'), true],
  ])("HolderKeeper is not misled by a record %s", async (_, change, isSaid) => {
    const host = place();
    const first = host.start();
    await first.says("kept");
    await first.end("SIGTERM");
    const record = join(host.directory, "state", "handover.json");
    writeFileSync(record, change(readFileSync(record, "utf8")));
    const port = 9001; // the former may still be held
    const second = host.start({ port });
    await second.says("kept");
    expect(second.lines).toContain("bound");
    expect(second.lines.filter((line) => line.startsWith("warn"))).toHaveLength(isSaid ? 1 : 0);
    await second.end("SIGKILL");
    const third = host.start({ port });
    await third.says("taken");
  });

  test("HolderKeeper harms no process that has a holder's or a daemon's pid by now", async () => {
    const bystander = spawn("sleep", ["60"], { stdio: ["ignore", "ignore", "ignore", "pipe"] });
    onTestFinished(() => void bystander.kill("SIGKILL"));
    await once(bystander, "spawn");
    await new Promise((resolve) => setTimeout(resolve, 20)); // in 10 ms processes begin at the same time
    const host = place();
    const pid = bystander.pid ?? 0;
    const first = host.start({ timeout: 1 });
    await first.says("kept");
    await first.end("SIGTERM");
    const path = join(host.directory, "state", "handover.json");
    const record = JSON.parse(readFileSync(path, "utf8")) as Record<string, object>;
    for (const name of ["holder", "daemon"]) record[name] = { ...record[name], pid };
    writeFileSync(path, JSON.stringify(record));
    const second = host.start({ port: 9001 });
    await second.says("kept");
    expect(second.lines.join()).not.toContain("warn");
    expect(isAlive(processId(pid) ?? { pid, startTime: "" })).toBe(true);
  });
});
