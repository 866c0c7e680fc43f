import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { isAlive } from "../../src/kernel/process-id.ts";
import { parseLabName } from "../../src/lab/address-plan.ts";
import { dismantle } from "../../src/lab/dismantle.ts";
import { readRecord } from "../../src/lab/record.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import {
  exitOf,
  expectNothingLeftOf,
  fakeHosts,
  lab,
  labEnv,
  PATIENCE,
  PROGRAM,
  processesOfLab,
  startLab,
} from "../support/lab-command.ts";

const { signal } = new AbortController();
const name = parseLabName("tcommand");
const entry = join(import.meta.dirname, "../../src/cli/flannel.ts");
const fake = fakeHosts(name);

afterEach(() => dismantle(name, { signal }));

test("lab up leaves a lab that ping, exec, logs and ls know, until lab down", () => {
  expect(lab("up", ...fake)).toMatchObject({ status: 0, stdout: expect.stringContaining("lab tcommand is up") });

  expect(lab("ping", "--name", name)).toMatchObject({ status: 0, stdout: expect.stringContaining("2 of 2 pairs") });
  expect(JSON.parse(lab("ping", "--name", name, "--json").stdout)).toMatchObject([{ from: "h1/p1", to: "h2/p1" }, {}]);
  expect(lab("ping", "--name", name, "--size", "1451").status).toBe(1);

  expect(lab("exec", "--name", name, "h2", "--", "ip", "-br", "addr").stdout).toContain("192.168.77.2/24");
  expect(lab("exec", "--name", name, "h2/p1", "--", "hostname", "-I").stdout).toContain("10.5.2.2");
  expect(lab("exec", "--name", name, "h1", "--", "sh", "-c", "exit 7").status).toBe(7);
  expect(lab("exec", "--name", name, "h3", "true").stderr).toContain("no h3 in lab tcommand, but h1, h1/p1, h2, h2/p1");

  expect(lab("logs", "--name", name, "h1").stdout).toMatch(/^fake flanneld \d+ starts/);
  expect(lab("ls").stdout).toMatch(/^tcommand +2 +vxlan +etcd3 +10\.5\.0\.0\/16 +up$/m);
  expect(lab("up", ...fake)).toMatchObject({ status: 1, stderr: expect.stringContaining("already") });

  const processes = processesOfLab(name);
  expect(processes).toHaveLength(3);
  expect(lab("down", name)).toMatchObject({ status: 0, stdout: expect.stringContaining("removed lab tcommand\n") });
  expect(processes.filter(isAlive)).toEqual([]);
  expectNothingLeftOf(name);
});

test("lab logs -f shows what is written later", async () => {
  lab("up", ...fake);
  const { child, said } = startLab("logs", "--name", name, "h1", "-f");
  await waitUntil(() => said.text.includes("starts"), { signal, within: PATIENCE, what: "the log so far" });
  writeFileSync(readRecord(name)?.hosts[0]?.log ?? "", "and more\n", { flag: "a" });
  await waitUntil(() => said.text.includes("and more"), { signal, within: PATIENCE, what: "what was added" });
  child.kill("SIGTERM");
  expect(await exitOf(child)).toBe(143);
});

test("lab demo shows what happened, pings, and leaves nothing", () => {
  const { status, stdout, stderr } = lab("demo", ...fake);
  expect(stderr).toMatch(/making 2 hosts[^]*starting etcd v3[^]*starting flanneld[^]*making 2 pods[^]*removing/);
  expect(stdout).toContain("h1# ip route\n  10.5.1.0/24 dev cni0");
  expect(stdout).toContain("2 of 2 pairs of pods reach each other");
  expect(status).toBe(0);
  expectNothingLeftOf(name);
});

test("lab demo fails if not every pod reaches every other", () => {
  const { status, stdout } = lab("demo", ...fake, "--flag=--no-routes");
  expect(stdout).toContain("0 of 2 pairs of pods reach each other");
  expect(status).toBe(1);
  expectNothingLeftOf(name);
});

/** Without routes it goes on pinging for some seconds: it has not ended when a signal comes late. */
const phases = [
  ["SIGINT", "making 2 hosts", "--no-routes"],
  ["SIGINT", "starting etcd", "--no-routes"],
  ["SIGTERM", "starting flanneld", "--no-routes"],
  ["SIGINT", "starting flanneld", "--never-ready"],
  ["SIGINT", "making 2 pods", "--no-routes"],
  ["SIGHUP", "pinging", "--no-routes"],
] as const;

test.each(phases)("lab demo on %s while %s leaves nothing", async (how, phase, flag) => {
  const { child, said } = startLab("demo", ...fake, `--flag=${flag}`);
  await waitUntil(() => said.text.includes(phase), { signal, within: PATIENCE, what: phase, every: 1 });
  child.kill(how);
  expect(await exitOf(child)).toBe({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }[how]);
  const last = `flannel lab: interrupted by ${how}`; // its end may be heard of before its last words
  await waitUntil(() => said.text.includes(last), { signal, within: PATIENCE, what: last });
  expectNothingLeftOf(name);
});

test("lab up interrupted by SIGINT leaves nothing", async () => {
  const { child, said } = startLab("up", ...fake, "--flag=--never-ready");
  await waitUntil(() => said.text.includes("starting flanneld"), { signal, within: PATIENCE, what: "daemons start" });
  child.kill("SIGINT");
  expect(await exitOf(child)).toBe(130);
  expectNothingLeftOf(name);
});

test("lab down by name takes a lab from the living process that holds it", async () => {
  const { child, said } = startLab("demo", ...fake, "--flag=--never-ready");
  await waitUntil(() => said.text.includes("starting flanneld"), { signal, within: PATIENCE, what: "daemons start" });
  expect(lab("ls").stdout).toContain(`up with pid ${child.pid}`);
  expect(lab("down", name).stdout).toContain("removed lab tcommand\n");
  expect(await exitOf(child)).toBe(1);
  expectNothingLeftOf(name);
});

test("lab up says which program is missing and how to get it, before making anything", () => {
  const bin = mkdtempSync(join(tmpdir(), "flannel-lab-"));
  try {
    for (const program of ["ip", "ping"]) symlinkSync(programHere(program), join(bin, program));
    const { status, stderr } = spawnSync(process.execPath, [PROGRAM, "lab", "up", ...fake], {
      env: { ...labEnv, PATH: bin },
      encoding: "utf8",
    });
    expect(stderr).toBe("flannel lab: the program etcd is not installed (apt-get install etcd-server)\n");
    expect(status).toBe(1);
    expectNothingLeftOf(name);
  } finally {
    rmSync(bin, { recursive: true });
  }
});

test("lab up without root says that it needs it", () => {
  const uid = 65_534;
  const { status, stderr } = spawnSync(process.execPath, ["-e", asUser(uid), entry, "lab", "up"], {
    env: labEnv,
    encoding: "utf8",
  });
  expect(stderr).toContain("a lab needs root to make network namespaces (try again with sudo)");
  expect(status).toBe(1);
});

test.each([
  [["up", "--hosts", "0"], "--hosts: not a whole number of at least 1: 0"],
  [
    ["up", "--name", "Odd Name"],
    'name: a lab\'s name is 1 to 16 lower-case letters and digits, a letter first, not "Odd Name"',
  ],
  [["up", "--backend", '{"VNI":1}'], '--backend: has no "Type": {"VNI":1}'],
  [["up", "--network", "10.5.0.0"], "network: not a network in CIDR form"],
  [["ping", "--name", "nosuch"], "there is no lab nosuch"],
])("lab %j says what is wrong and exits with 1", (args, message) => {
  const { status, stderr } = lab(...args);
  expect(stderr).toContain(message);
  expect(status).toBe(1);
});

/** A script that becomes another user and then runs what follows it: that user may not be able to read the sources. */
function asUser(uid: number): string {
  return `const [entry] = process.argv.splice(1, 1); process.argv.splice(1, 0, entry);
    import(entry.replace("cli/flannel.ts", "lab/command.ts")).then(async ({ labCommand }) => {
      const { default: yargs } = await import("yargs");
      process.setuid(${uid});
      await yargs(process.argv.slice(2)).command(labCommand).parseAsync();
    });`;
}

function programHere(program: string): string {
  const directories = (process.env["PATH"] ?? "").split(":").concat("/usr/sbin", "/sbin");
  const found = directories.map((directory) => join(directory, program)).find((path) => existsSync(path));
  if (found === undefined) throw new Error(`${program} is not installed here`);
  return found;
}
