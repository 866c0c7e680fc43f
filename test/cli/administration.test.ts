import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EtcdServer } from "../support/etcd.ts";
import { flannel, type Outcome, root, run, temporaryDirectory } from "./program.ts";

const CONFIG = '{ "Network": "10.5.0.0/16",\n  "Backend": {"Type": "vxlan", "VNI": 7} }\n';
const PATH = `${join(root, "bin")}:/usr/bin:/bin:/usr/sbin:/sbin`;

/** A store, as the commands are told of it. */
interface Place extends AsyncDisposable {
  readonly env: Readonly<Record<string, string>>;
}

function embedded(): Promise<Place> {
  const directory = temporaryDirectory();
  const env = { FLANNELD_EMBEDDED_STORE: join(directory.path, "a/leases.db"), CI: "true" }; // is no reason for colours
  return Promise.resolve({ env, [Symbol.asyncDispose]: async () => directory[Symbol.dispose]() });
}

async function etcd(api: "2" | "3"): Promise<Place> {
  const directory = temporaryDirectory();
  const server = await EtcdServer.start();
  return {
    env: {
      FLANNELD_ETCD_ENDPOINTS: server.endpoint,
      FLANNELD_ETCD_API: api,
      FLANNELD_STATE_DIR: directory.path,
      FLANNELD_IP_MASQ: "true", // the daemon's affair, not ours
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      directory[Symbol.dispose]();
    },
  };
}

const done = (stdout: string): Outcome => ({ end: 0, stdout, stderr: "" });
const failed = (message: string, end = 1): Outcome => ({ end, stdout: "", stderr: `flannel: ${message}\n` });

describe.each([
  ["an embedded store", embedded],
  ["etcd v2", () => etcd("2")],
  ["etcd v3", () => etcd("3")],
])("on %s", (_, open) => {
  let place: Place;
  beforeAll(async () => {
    place = await open();
  });
  afterAll(() => place[Symbol.asyncDispose]());

  const tool = (...args: readonly string[]) => run(flannel, args, { env: place.env });
  const json = async (...args: readonly string[]) => {
    const { end, stdout, stderr } = await tool(...args, "--json");
    expect([end, stderr]).toEqual([0, ""]);
    return JSON.parse(stdout) as unknown;
  };

  test("config get says that there is none, and config set stores one", async () => {
    const { end, stderr } = await tool("config", "get");
    expect([end, stderr]).toEqual([1, expect.stringMatching(/^flannel: .*(config|there is no file)/)]);
    const stored = await tool("config", "set", CONFIG);
    expect(stored.end).toBe(0);
    expect(stored.stdout).toMatch(
      /^stored the config in .+\n {2}network {3}10\.5\.0\.0\/16\n {2}subnets {3}\/24 from 10\.5\.1\.0 to 10\.5\.255\.0\n {2}backend {3}vxlan VNI=7\n$/,
    );
    expect(await tool("config", "get")).toEqual(done(CONFIG));
    expect(await json("config", "get")).toEqual({
      text: CONFIG,
      revision: expect.stringMatching(/^[0-9]+$/),
      effective: {
        Network: "10.5.0.0/16",
        SubnetLen: 24,
        SubnetMin: "10.5.1.0",
        SubnetMax: "10.5.255.0",
        Backend: { Type: "vxlan", VNI: 7 },
      },
      warnings: [],
      error: null,
    });
  });

  test("config set stores nothing that would not work", async () => {
    for (const [config, message] of [
      ['{"Network":"10.5.0.0/33"}', 'Network: prefix length is not 0 to 32: "10.5.0.0/33"'],
      [
        '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":-1}}',
        "Backend.VNI: must be a whole number from 0 to 16777215, not -1",
      ],
      [
        '{"Network":"10.5.0.0/16","Backend":{"Type":"pigeon"}}',
        'Backend.Type: backend "pigeon" is unknown; there are alloc, aws-vpc, gce, host-gw, udp, vxlan',
      ],
    ] as const)
      expect(await tool("config", "set", config)).toEqual(failed(message));
    expect(await tool("config", "get")).toEqual(done(CONFIG));
  });

  test("networks have configs and leases of their own", async () => {
    const stored = await json(
      "config",
      "set",
      '{"Network":"10.6.0.0/16","Backend":{"Type":"host-gw"}}',
      "--network=blue",
    );
    expect(stored).toMatchObject({ stored: true, effective: { Network: "10.6.0.0/16" }, warnings: [] });
    expect((await tool("reservation", "add", "10.6.1.0/24", "192.0.2.1", "--network=blue")).end).toBe(0);
    expect(await json("reservation", "ls", "--network=blue")).toEqual([
      { subnet: "10.6.1.0/24", publicIP: "192.0.2.1" },
    ]);
    expect(await json("reservation", "ls")).toEqual([]);
    expect(await tool("config", "get")).toEqual(done(CONFIG));
  });

  test("reservations and leases are added, listed and removed", async () => {
    expect(await tool("reservation", "ls")).toEqual(done("no reservations\n"));
    expect(await tool("lease", "ls")).toEqual(done("no leases\n"));
    expect(await tool("reservation", "add", "10.5.77.0/24", "192.0.2.77")).toEqual(
      done("reserved 10.5.77.0/24 for 192.0.2.77\n"),
    );
    expect(await json("reservation", "add", "10.5.8.0/24", "192.0.2.8")).toEqual({
      reserved: { subnet: "10.5.8.0/24", publicIP: "192.0.2.8" },
    });
    expect(await tool("reservation", "add", "10.5.77.0/24", "192.0.2.78")).toEqual(
      failed("10.5.77.0/24 is already reserved for 192.0.2.77"),
    );
    expect(await tool("reservation", "add", "10.5.9.0/25", "192.0.2.78")).toEqual(
      failed("Subnet: 10.5.9.0/25 is not a /24, as SubnetLen says"),
    );
    expect(await tool("reservation", "ls")).toEqual(
      done("SUBNET        PUBLIC IP\n10.5.8.0/24   192.0.2.8\n10.5.77.0/24  192.0.2.77\n"),
    );
    expect(await tool("reservation", "rm", "10.5.8.0-24")).toEqual(
      done("10.5.8.0/24 is no longer reserved: its lease ends in 24 hours unless its host renews it\n"),
    );
    expect(await tool("reservation", "rm", "10.5.8.0/24")).toEqual(failed("10.5.8.0/24 is not reserved"));
    const listed = await tool("lease", "ls");
    expect(listed.stdout.replace("in 24h 0m", "in 23h 59m")).toBe(
      `SUBNET        PUBLIC IP   BACKEND  ENDS
10.5.8.0/24   192.0.2.8   -        in 23h 59m
10.5.77.0/24  192.0.2.77  -        never (reserved)
`,
    );
    const lease = {
      ipv6Subnet: null,
      publicIPv6: null,
      backendType: null,
      backendData: null,
      backendV6Data: null,
      revision: expect.stringMatching(/^[0-9]+$/),
    };
    expect(await json("lease", "ls")).toEqual([
      {
        ...lease,
        subnet: "10.5.8.0/24",
        publicIP: "192.0.2.8",
        reservation: false,
        expiration: expect.stringMatching(/^\d{4}-.*Z$/),
      },
      { ...lease, subnet: "10.5.77.0/24", publicIP: "192.0.2.77", reservation: true, expiration: null },
    ]);
    expect(await tool("lease", "revoke", "10.5.8.0/24")).toEqual(
      done("revoked the lease of 192.0.2.8 on 10.5.8.0/24\n"),
    );
    expect(await tool("lease", "revoke", "10.5.8.0/24")).toEqual(failed("there is no lease on 10.5.8.0/24"));
    expect(await json("lease", "revoke", "10.5.77.0/24")).toMatchObject({
      revoked: { subnet: "10.5.77.0/24", reservation: true },
    });
    expect(await json("lease", "ls")).toEqual([]);
  });

  test("config edit stores what the editor made of the text, unless another changed it meanwhile", async () => {
    using directory = temporaryDirectory();
    const edit = (script: string, name = "EDITOR") => {
      const editor = join(directory.path, "editor with spaces");
      writeFileSync(editor, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
      const env = { ...place.env, TMPDIR: directory.path, PATH, EDITOR: "false", [name]: `'${editor}' --wait` };
      return run(flannel, ["config", "edit"], { env });
    };
    expect(await edit('test "$1" = --wait && sed -i s/7/8/ "$2"')).toMatchObject({ end: 0, stderr: "" });
    const eight = CONFIG.replace("7", "8");
    expect(await tool("config", "get")).toEqual(done(eight));
    expect(await edit("true", "VISUAL")).toEqual(done("nothing was changed\n"));
    expect(await edit("exit 3")).toEqual(
      failed(`the editor '${directory.path}/editor with spaces' --wait ended with exit code 3; nothing was changed`),
    );

    const invalid = await edit('sed -i s/vxlan/pigeon/ "$2"');
    expect([invalid.end, invalid.stdout]).toEqual([1, ""]);
    expect(invalid.stderr).toContain('backend "pigeon" is unknown');
    const [, kept = ""] = /your text is in (.*)\n/.exec(invalid.stderr) ?? [];
    expect(readFileSync(kept, "utf8")).toBe(eight.replace("vxlan", "pigeon"));

    const raced = await edit(`sed -i s/8/9/ "$2"; ${flannel} config set '${CONFIG}' >/dev/null`);
    expect([raced.end, raced.stdout]).toEqual([1, ""]);
    expect(raced.stderr).toContain("nothing was stored; your text is in ");
    expect(await tool("config", "get")).toEqual(done(CONFIG));
  });
});

describe("the command line", () => {
  const tool = (...args: readonly string[]) => run(flannel, args);

  test.each([
    [["lease", "revoke"], "Not enough non-option arguments: got 0, need at least 1"],
    [["lease", "revoke", "10.5.1.0/24", "--nope"], "Unknown argument: nope"],
    [["config"], "say what to do with the config"],
    [
      ["lease", "revoke", "10.5.1.0", "--embedded-store=/nonexistent"],
      "SUBNET: 10.5.1.0: is not the key of a lease, as 10.5.34.0-24",
    ],
    [["reservation", "add", "10.5.1.0/24", "host-1"], 'PUBLIC-IP: not an IP address: "host-1"'],
  ])("flannel %j exits 2 with the reason, and does nothing", async (args, reason) => {
    const { end, stdout, stderr } = await tool(...args);
    expect([end, stdout]).toEqual([2, ""]);
    expect(stderr).toContain(reason);
    expect(stderr).not.toMatch(/^ {4}at /m);
  });

  test("a store on the command line counts instead of the one in the environment", async () => {
    using directory = temporaryDirectory();
    const env = { FLANNELD_ETCD_ENDPOINTS: "http://127.0.0.1:1", FLANNELD_ETCD_API: "2" };
    const option = `--embedded-store=${join(directory.path, "leases.db")}`;
    expect(await run(flannel, ["config", "set", CONFIG, option], { env })).toMatchObject({ end: 0 });
    expect(await run(flannel, ["lease", "ls", option], { env })).toEqual(done("no leases\n"));
    const both = await run(flannel, ["lease", "ls", option, "--etcd-api=3"], { env });
    expect(both).toEqual(failed("--embedded-store and --etcd-api are mutually exclusive"));
  });

  test("an etcd that is not there is said to be so", async () => {
    const { end, stdout, stderr } = await tool("lease", "ls", "--etcd-endpoints=http://127.0.0.1:1", "--etcd-api=2");
    expect([end, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/flannel: http:\/\/127\.0\.0\.1:1: .*\n$/);
  });

  test("commands that only look make no store", async () => {
    using directory = temporaryDirectory();
    const file = join(directory.path, "leases.db");
    for (const args of [
      ["lease", "ls"],
      ["config", "get"],
      ["reservation", "ls"],
      ["lease", "revoke", "10.5.1.0/24"],
    ])
      expect(await tool(...args, `--embedded-store=${file}`)).toEqual(
        failed(`--embedded-store: there is no file ${file}`),
      );
  });
});

describe("docs/administration.md", () => {
  const document = readFileSync(join(root, "docs/administration.md"), "utf8");
  const blocks = [...document.matchAll(/^```console\n(.*?)^```$/gms)].map(([, block = ""]) => block);

  test("every command in it does what it shows", async () => {
    using directory = temporaryDirectory();
    const store = join(directory.path, "flannel");
    mkdirSync(store);
    const here = (text: string) => text.replaceAll("/var/lib/flannel", store);
    const env = { PATH, TMPDIR: directory.path, FLANNELD_EMBEDDED_STORE: join(store, "leases.db") };
    const commands = blocks.flatMap((block) => block.split(/^\$ /m).slice(1)); // what begins with # is root's, on a host of its own
    expect(commands.length).toBeGreaterThan(15);
    for (const text of commands) {
      const [command = "", ...output] = text.split("\n");
      const { stdout, stderr } = await run("/bin/sh", ["-c", here(command)], { env });
      expect(`$ ${command}\n${stdout}${stderr}`).toBe(`$ ${command}\n${here(output.join("\n"))}`);
    }
  });
});
