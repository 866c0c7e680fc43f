import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

const PROGRAM = join(import.meta.dirname, "../../dist/mk-docker-opts.sh");

const ENV = `FLANNEL_NETWORK=10.5.0.0/16
FLANNEL_SUBNET=10.5.16.1/24
FLANNEL_MTU=1472
FLANNEL_IPMASQ=true
`;

const EACH = `DOCKER_OPT_BIP="--bip=10.5.16.1/24"
DOCKER_OPT_IPMASQ="--ip-masq=false"
DOCKER_OPT_MTU="--mtu=1472"
`;
const OPTIONS = " --bip=10.5.16.1/24 --ip-masq=false --mtu=1472";
const COMBINED = `DOCKER_OPTS="${OPTIONS}"\n`;

for (const shell of ["dash", "bash"])
  describe(`mk-docker-opts.sh, by ${shell}`, () => {
    let directory = "";
    beforeEach(() => {
      directory = mkdtempSync(join(tmpdir(), "flannel-docker-"));
    });
    afterEach(() => rmSync(directory, { recursive: true, force: true }));

    const file = () => join(directory, "docker.env");

    function run(args: readonly string[], { text = ENV, env = {} }: { text?: string; env?: NodeJS.ProcessEnv } = {}) {
      const from = join(directory, "subnet.env");
      if (text !== "") writeFileSync(from, text);
      const argv = [PROGRAM, "-f", from, "-d", file(), ...args];
      const { status, stderr, stdout } = spawnSync(shell, argv, { env: { PATH: process.env["PATH"], ...env } });
      return { status, stderr: String(stderr), stdout: String(stdout) };
    }

    const written = () => readFileSync(file(), "utf8");

    test.each([
      [[], EACH + COMBINED],
      [["-i"], EACH],
      [["-c"], COMBINED],
      [["-i", "-c"], EACH + COMBINED],
      [["-ic"], EACH + COMBINED],
      [["-c", "-k", "DOCKER_NETWORK_OPTIONS"], `DOCKER_NETWORK_OPTIONS="${OPTIONS}"\n`],
      [["-c", "-m"], 'DOCKER_OPTS=" --bip=10.5.16.1/24 --mtu=1472"\n'],
      [["-i", "-m"], EACH.replace(/.*IPMASQ.*\n/, "")],
    ])("writes what 0.7.0 writes for %j", (args, expected) => {
      writeFileSync(file(), "stale\n");
      expect(run(args)).toEqual({ status: 0, stderr: "", stdout: "" });
      expect(written()).toBe(expected);
    });

    test("masquerades in Docker where flannel does not", () => {
      run(["-c"], { text: ENV.replace("true", "false") });
      expect(written()).toBe('DOCKER_OPTS=" --bip=10.5.16.1/24 --ip-masq=true --mtu=1472"\n');
    });

    test("refuses a FLANNEL_IPMASQ that is neither, and leaves no stale options", () => {
      writeFileSync(file(), "stale\n");
      expect(run([], { text: ENV.replace("true", "maybe") })).toEqual({
        status: 1,
        stderr: "Invalid value of FLANNEL_IPMASQ: maybe\n",
        stdout: "",
      });
      expect(written()).toBe("");
    });

    test("writes no options where flannel has written no file, and takes variables in its place", () => {
      expect(run([], { text: "" }).status).toBe(0);
      expect(written()).toBe('DOCKER_OPTS=""\n');
      run(["-c"], { text: "", env: { FLANNEL_SUBNET: "10.9.1.1/24" } });
      expect(written()).toBe('DOCKER_OPTS=" --bip=10.9.1.1/24"\n');
    });

    test("keeps DOCKER_OPTS in front, and takes every DOCKER_OPT_ variable along", () => {
      run([], { env: { DOCKER_OPTS: "-H fd://", DOCKER_OPT_A: "--debug", DOCKER_OPT_ZONE: "--label zone=1" } });
      expect(written()).toBe(
        `DOCKER_OPT_A="--debug"\n${EACH}DOCKER_OPT_ZONE="--label zone=1"\nDOCKER_OPTS="-H fd:// --debug${OPTIONS} --label zone=1"\n`,
      );
    });

    test("writes values so that a shell reads back what they were, and runs nothing in them", () => {
      const nasty = `a "b" $(touch ${directory}/ran) \`touch ${directory}/ran\` \\ $HOME`;
      run(["-i"], { env: { DOCKER_OPT_X: nasty } });
      const back = spawnSync(shell, ["-c", `. ${file()}; printf %s "$DOCKER_OPT_X"`]);
      expect(String(back.stdout)).toBe(nasty);
      run([], { text: `FLANNEL_SUBNET=$(touch ${directory}/ran)\ntouch ${directory}/ran\n` });
      expect(() => statSync(join(directory, "ran"))).toThrow("ENOENT");
    });

    test.each([["-h"], ["-?"], ["-x"], ["-k", ""], ["-k", "a b"], ["-f"]])(
      "shows how it is used for %s %s",
      (...args) => {
        const { status, stderr, stdout } = run(args.filter((argument) => argument !== undefined));
        expect([status, stdout]).toEqual([1, ""]);
        for (const option of ["-f FILE", "-d FILE", "-i ", "-c ", "-k NAME", "-m "]) expect(stderr).toContain(option);
      },
    );

    test("fails where it cannot write", () => {
      const { status } = run(["-d", join(directory, "no", "such", "place")]);
      expect(status).not.toBe(0);
    });
  });

test("mk-docker-opts.sh can be run as it is", () => {
  expect(statSync(PROGRAM).mode & 0o777).toBe(0o755);
});
