import { describe, expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { parsePrefix } from "../ip/prefix.ts";
import { FLANNELD_FLAGS } from "./flanneld-flag-table.ts";
import { parseFlanneld } from "./flanneld-flags.ts";
import { versionLine } from "./version.ts";

function parse(argv: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return parseFlanneld(argv, env);
}

function run(argv: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const parsed = parse(argv, env);
  if (parsed.kind !== "run") throw new Error(parsed.stderr);
  return parsed;
}

function options(...argv: readonly string[]) {
  return run(argv).options;
}

/** Exit code and first line. */
function exit(argv: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const parsed = parse(argv, env);
  return parsed.kind === "exit" ? [parsed.code, parsed.stderr.split("\n")[0]] : parsed.kind;
}

/** Flags of 0.7.0 and their defaults. */
const REFERENCE = {
  "etcd-endpoints": "http://127.0.0.1:4001,http://127.0.0.1:2379",
  "etcd-prefix": "/coreos.com/network",
  "etcd-keyfile": "",
  "etcd-certfile": "",
  "etcd-cafile": "",
  "etcd-username": "",
  "etcd-password": "",
  listen: "",
  remote: "",
  "remote-keyfile": "",
  "remote-certfile": "",
  "remote-cafile": "",
  "kube-subnet-mgr": false,
  help: false,
  version: false,
  "public-ip": "",
  "subnet-file": "/run/flannel/subnet.env",
  "subnet-dir": "/run/flannel/networks",
  iface: [],
  networks: "",
  "watch-networks": false,
  "subnet-lease-renew-margin": 60,
  "ip-masq": false,
  v: 0,
  logtostderr: true,
};

describe("FLANNELD_FLAGS", () => {
  test.each(Object.entries(REFERENCE))("FLANNELD_FLAGS has 0.7.0's --%s with its default", (name, value) => {
    expect(FLANNELD_FLAGS).toHaveProperty([name, "default"], value);
  });

  test.each(["alsologtostderr", "log_backtrace_at", "log_dir", "stderrthreshold", "vmodule"])(
    "FLANNELD_FLAGS has glog's %s",
    (name) => {
      expect(FLANNELD_FLAGS).toHaveProperty([name]);
    },
  );
});

describe("parseFlanneld()", () => {
  test("parseFlanneld() without arguments gives 0.7.0's defaults", () => {
    expect(run([])).toEqual({
      kind: "run",
      warnings: [],
      options: {
        store: {
          kind: "etcd",
          api: undefined,
          etcd: {
            endpoints: ["http://127.0.0.1:4001", "http://127.0.0.1:2379"],
            prefix: "/coreos.com/network",
            files: {},
          },
        },
        subnetFile: "/run/flannel/subnet.env",
        stateDir: "/var/lib/flannel",
        interfaces: { ifaces: [], patterns: [], canReach: undefined, publicIP: undefined },
        renewMargin: 3_600_000,
        handoverTimeout: 30_000,
        networks: [],
        watchNetworks: false,
        subnetDir: "/run/flannel/networks",
        health: undefined,
        firewall: { flavour: "auto", masquerade: false, excluded: [], clampMss: false, admission: true },
        configureHost: false,
        log: { format: "text", verbosity: 0 },
      },
    });
  });

  test("parseFlanneld() reads everything etcd needs", () => {
    const { store } = options(
      "--etcd-endpoints=https://10.0.0.1:2379, https://10.0.0.2:2379,",
      "--etcd-prefix=/a//b/../c/",
      "--etcd-api=3",
      "--etcd-cafile=ca.pem",
      "--etcd-certfile=c.pem",
      "--etcd-keyfile=k.pem",
      "--etcd-username=root",
      "--etcd-password=s=ecret",
    );
    expect(store).toEqual({
      kind: "etcd",
      api: 3,
      etcd: {
        endpoints: ["https://10.0.0.1:2379", "https://10.0.0.2:2379"],
        prefix: "/a/c",
        files: { ca: "ca.pem", certificate: { cert: "c.pem", key: "k.pem" } },
        credentials: { username: "root", password: "s=ecret" },
      },
    });
  });

  test("parseFlanneld() reads what belongs to this host", () => {
    expect(
      options(
        "--embedded-store=/tmp/leases.db",
        "--subnet-file=/tmp/s.env",
        "--state-dir=/tmp/state",
        "--iface=eth9, eth8,",
        "--iface=eth1",
        "--iface-regex=^en[op],?",
        "--iface-regex=(?i)WLAN",
        "--iface-can-reach=192.0.2.254",
        "--public-ip=192.0.2.7",
        "--subnet-lease-renew-margin=1439",
        "--handover-timeout=5",
        "--healthz-port=8081",
        "--configure-host",
        "--log-format=json",
        "-v=2",
      ),
    ).toEqual({
      store: { kind: "embedded", file: "/tmp/leases.db" },
      subnetFile: "/tmp/s.env",
      stateDir: "/tmp/state",
      interfaces: {
        ifaces: ["eth9", "eth8", "eth1"],
        patterns: [
          { text: "^en[op],?", expression: /^en[op],?/ },
          { text: "(?i)WLAN", expression: /WLAN/i },
        ],
        canReach: parseAddress("192.0.2.254"),
        publicIP: parseAddress("192.0.2.7"),
      },
      renewMargin: 1439 * 60_000,
      handoverTimeout: 5_000,
      networks: [],
      watchNetworks: false,
      subnetDir: "/run/flannel/networks",
      health: { host: "0.0.0.0", port: 8081 },
      firewall: { flavour: "auto", masquerade: false, excluded: [], clampMss: false, admission: true },
      configureHost: true,
      log: { format: "json", verbosity: 2 },
    });
  });

  test("parseFlanneld() prefers the command line to the environment, and that to the default", () => {
    const env = { FLANNELD_IFACE: "eth2", FLANNELD_SUBNET_FILE: "/e.env", FLANNELD_V: "1", FLANNELD_IP_MASQ: "0" };
    const { options } = run(["--iface=eth1"], env);
    expect(options).toMatchObject({ interfaces: { ifaces: ["eth1"] }, subnetFile: "/e.env", log: { verbosity: 1 } });
  });

  test("parseFlanneld() warns once about each variable it cannot read, and about nothing else", () => {
    const env = { FLANNELD_SUBNET_LEASE_RENEW_MARGIN: "abc", FLANNELD_NOPE: "1", FLANNELD_IFACE: "" };
    const { options, warnings } = run([], env);
    expect(options.renewMargin).toBe(3_600_000);
    expect(warnings).toEqual([
      {
        message: "an environment variable cannot be read and is ignored",
        fields: { variable: "FLANNELD_SUBNET_LEASE_RENEW_MARGIN", value: "abc", reason: "parse error" },
      },
    ]);
  });

  test("parseFlanneld() never warns with the text of a password", () => {
    expect(
      JSON.stringify(run([], { FLANNELD_ETCD_PASSWORD: "secret", FLANNELD_ETCD_USERNAME: "u" }).warnings),
    ).not.toContain("secret");
  });

  test("parseFlanneld() takes no wish for help or the version from the environment", () => {
    expect(exit([], { FLANNELD_HELP: "true", FLANNELD_VERSION: "true" })).toBe("run");
  });

  test("parseFlanneld() shows the version and exits 0", () => {
    expect(parse(["--version"])).toEqual({ kind: "exit", code: 0, stderr: `${versionLine}\n` });
  });

  test.each([
    [["--help"]],
    [["-h"]],
    [["-help=true"]],
    [["start"]],
    [["--iface=eth0", "start", "--nonsense"]],
    [["--", "x"]],
    [["-"]],
  ])("parseFlanneld() shows the usage and exits 0 for %j", (argv) => {
    expect(exit(argv)).toEqual([0, "Usage: flanneld [OPTION]..."]);
  });

  test("parseFlanneld() names every flag in its usage", () => {
    const parsed = parse(["--help"]);
    for (const name of Object.keys(FLANNELD_FLAGS))
      expect(parsed).toHaveProperty("stderr", expect.stringMatching(`\n  --${name}(=|\n)`));
  });

  test.each([
    [["--no-such-flag"], "flag provided but not defined: -no-such-flag"],
    [["--iface"], "flag needs an argument: -iface"],
    [["-v=abc"], 'invalid value "abc" for flag -v: parse error'],
    [["--ip-masq=yes"], 'invalid boolean value "yes" for -ip-masq: parse error'],
    [["--subnet-lease-renew-margin=1h"], 'invalid value "1h" for flag -subnet-lease-renew-margin: parse error'],
  ])("parseFlanneld() exits 2 for %j, with the usage below the reason", (argv, reason) => {
    expect(exit(argv)).toEqual([2, reason]);
    expect(parse(argv)).toHaveProperty("stderr", expect.stringContaining("\nUsage: flanneld"));
  });

  test.each([
    [["--listen=:8888", "--remote=h:8888"], "flanneld: --listen and --remote are mutually exclusive"],
    [["--subnet-lease-renew-margin=0"], "flanneld: --subnet-lease-renew-margin is 0, but must be 1 to 1439 minutes"],
    [
      ["--subnet-lease-renew-margin=1440"],
      "flanneld: --subnet-lease-renew-margin is 1440, but must be 1 to 1439 minutes",
    ],
    [["--subnet-lease-renew-margin=-5"], "flanneld: --subnet-lease-renew-margin is -5, but must be 1 to 1439 minutes"],
    [["--handover-timeout=-1"], "flanneld: --handover-timeout is -1, but must be 0 to 3600 seconds"],
    [["--handover-timeout=3601"], "flanneld: --handover-timeout is 3601, but must be 0 to 3600 seconds"],
    [["--healthz-port=-1"], "flanneld: --healthz-port is -1, but must be 0 to 65535"],
    [["--healthz-port=65536"], "flanneld: --healthz-port is 65536, but must be 0 to 65535"],
    [["--healthz-ip=localhost"], 'flanneld: --healthz-ip is "localhost", but must be an address, as 127.0.0.1'],
    [["--public-ip=zz"], "flanneld: --public-ip: invalid public IP address: zz (not an IPv4 address)"],
    [["--public-ip=fd00::1"], "flanneld: --public-ip: invalid public IP address: fd00::1 (not an IPv4 address)"],
    [["--etcd-api=v3"], 'flanneld: --etcd-api is "v3", but must be 2, 3 or auto'],
    [["--log-format=xml"], 'flanneld: --log-format is "xml", but must be text or json'],
    [["--etcd-certfile=c"], "flanneld: --etcd-keyfile: is missing, though --etcd-certfile is c"],
    [["--etcd-password=p"], "flanneld: --etcd-username: is missing, though --etcd-password is given"],
    [["--etcd-endpoints=,"], "flanneld: --etcd-endpoints: names no endpoint, as http://127.0.0.1:2379"],
    [
      ["--etcd-endpoints=127.0.0.1:2379"],
      'flanneld: --etcd-endpoints: "127.0.0.1:2379" must begin with http:// or https://',
    ],
    [["--etcd-endpoints=ftp://h"], 'flanneld: --etcd-endpoints: "ftp://h" must begin with http:// or https://'],
    [["--embedded-store=f", "--etcd-prefix=/p"], "flanneld: --embedded-store and --etcd-prefix are mutually exclusive"],
    [["--embedded-store=f", "--remote=h:8888"], "flanneld: --embedded-store and --remote are mutually exclusive"],
    [["--listen=0.0.0.0"], 'flanneld: --listen: "0.0.0.0": must be host:port, as 10.0.0.1:8888 or :8888'],
    [["--listen=fd://x"], 'flanneld: --listen: "fd://x": fd index is not a number'],
    [["--remote=h"], 'flanneld: --remote: "h" is not host:port, as 10.0.0.1:8888'],
    [["--remote=,"], "flanneld: --remote: names no server, as 10.0.0.1:8888"],
    [["--remote=h:1", "--remote-keyfile=k"], "flanneld: --remote-certfile: is missing, though --remote-keyfile is k"],
    [
      ["--listen=:1", "--remote-cafile=ca"],
      "flanneld: --remote-certfile: is missing: client certificates are asked for over TLS only",
    ],
    [
      ["--listen=:1", "--remote-authz=cn"],
      "flanneld: --remote-authz goes by client certificates, and so needs --remote-cafile, --remote-certfile and --remote-keyfile",
    ],
    [["--listen=:1", "--remote-authz=x"], 'flanneld: --remote-authz is "x", but must be cn or left out'],
    [["--subnet-file="], "flanneld: --subnet-file must not be empty"],
    [["--state-dir="], "flanneld: --state-dir must not be empty"],
    [
      ["--networks=blue,../x"],
      'flanneld: --networks: no network can be called "../x": letters, digits, _, - and . only',
    ],
  ])("parseFlanneld() exits 1 for %j and says why", (argv, reason) => {
    expect(exit(argv)).toEqual([1, reason]);
  });

  test("parseFlanneld() reads the names of several networks, empty ones not counting", () => {
    const { networks, subnetDir } = options("--networks=blue, green,,blue", "--subnet-dir=/run/x");
    expect({ networks, subnetDir }).toEqual({ networks: ["blue", "green"], subnetDir: "/run/x" });
  });

  test("parseFlanneld() reads what a server is to be", () => {
    const tls = ["--remote-cafile=ca", "--remote-certfile=cert", "--remote-keyfile=key", "--remote-crlfile=crl"];
    const argv = [
      "--embedded-store=f",
      "--listen=tcp://[::1]:8888",
      ...tls,
      "--remote-authz=cn",
      "--remote-admins=a, b",
    ];
    expect(options(...argv)).toMatchObject({
      store: { kind: "embedded", file: "f" },
      server: {
        address: { kind: "tcp", host: "::1", port: 8888 },
        files: { ca: "ca", certificate: { cert: "cert", key: "key" }, crl: "crl" },
        authorization: { byCommonName: true, admins: ["a", "b"] },
        keyPrefix: "/coreos.com/network",
      },
    });
  });

  test.each([
    ["--iface-regex=eth(", /^flanneld: --iface-regex: Invalid regular expression/],
    ["--iface-regex=[[:alpha:]]0", /^flanneld: --iface-regex: \[\[: is not understood in "\[\[:alpha:\]\]0"/],
    ["--iface-regex=eth0\\z", /^flanneld: --iface-regex: \\z is not understood/],
    ["--iface-can-reach=router", /^flanneld: --iface-can-reach: must be the address of another host: router/],
    ["--iface-can-reach=fe80::1", /^flanneld: --iface-can-reach: .* fe80::1 \(not a global IP address\)/],
  ])("parseFlanneld() refuses %s", (argument, reason) => {
    expect(exit([argument])).toEqual([1, expect.stringMatching(reason)]);
  });

  test.each([
    [":8888", { kind: "tcp", host: undefined, port: 8888 }],
    ["10.0.0.1:8888", { kind: "tcp", host: "10.0.0.1", port: 8888 }],
    ["tcp://localhost:0", { kind: "tcp", host: "localhost", port: 0 }],
    ["fd://", { kind: "activated", number: undefined }],
    ["fd://5", { kind: "activated", number: 5 }],
  ])("parseFlanneld() reads --listen=%s", (text, address) => {
    expect(options(`--listen=${text}`).server?.address).toEqual(address);
  });

  test.each([
    [["--remote=a:8888, b:8889,a:8888"], ["http://a:8888", "http://b:8889"]],
    [["--remote=[fd00::1]:80"], ["http://[fd00::1]:80"]],
    [["--remote=a:443", "--remote-cafile=ca"], ["https://a:443"]],
  ])("parseFlanneld() reads the servers of %j", (argv, endpoints) => {
    expect(options(...argv).store).toMatchObject({ kind: "remote", remote: { endpoints } });
  });

  test("parseFlanneld() reads how to be a node of a cluster", () => {
    const env = { NODE_NAME: "node-1", POD_NAME: "p", POD_NAMESPACE: "n" };
    const argv = [
      "--kube-subnet-mgr",
      "--kubeconfig-file=/k",
      "--kube-api-url=https://h:6443/",
      "--net-config-path=/n",
    ];
    const more = ["--kube-annotation-prefix=example.org/x", "--set-node-network-unavailable=false"];
    expect(parseFlanneld([...argv, ...more], env)).toMatchObject({
      options: {
        store: {
          kind: "kubernetes",
          kube: {
            apiUrl: "https://h:6443",
            kubeconfigFile: "/k",
            annotations: { publicIP: "example.org/x-public-ip" },
            netConfigPath: "/n",
            setNetworkUnavailable: false,
            node: { kind: "name", name: "node-1" },
          },
        },
      },
    });
    expect(parseFlanneld(argv, { ...env, NODE_NAME: "" })).toMatchObject({
      options: { store: { kube: { node: { kind: "pod", namespace: "n", name: "p" } } } },
    });
  });

  test.each([
    [[], {}, /^flanneld: NODE_NAME: must be set, or POD_NAME and POD_NAMESPACE, so that we know our node$/],
    [[], { NODE_NAME: "../pods" }, /^flanneld: NODE_NAME: is no name of an object in Kubernetes: "..\/pods"$/],
    [["--kube-api-url=h:6443"], { NODE_NAME: "a" }, /--kube-api-url: must be http:\/\/… or https:\/\/…, not "h:6443"/],
    [
      ["--kube-annotation-prefix=org/a/b"],
      { NODE_NAME: "a" },
      /--kube-annotation-prefix: must be a domain in lower case/,
    ],
    [["--net-config-path="], { NODE_NAME: "a" }, /--net-config-path: must not be empty/],
    [["--embedded-store=f"], { NODE_NAME: "a" }, /--kube-subnet-mgr and --embedded-store are mutually exclusive/],
    [["--networks=blue"], { NODE_NAME: "a" }, /--kube-subnet-mgr and --networks are mutually exclusive/],
  ])("parseFlanneld() refuses --kube-subnet-mgr with %j and %j", (argv, env, reason) => {
    expect(exit(["--kube-subnet-mgr", ...argv], env)).toEqual([1, expect.stringMatching(reason)]);
  });

  test("parseFlanneld() lets a server go before the cluster, as 0.7.0 did, and says so", () => {
    const parsed = parseFlanneld(["--kube-subnet-mgr", "--remote=h:8888"], {});
    expect(parsed).toMatchObject({ options: { store: { kind: "remote" } } });
    expect(parsed).toMatchObject({ warnings: [{ message: "--kube-subnet-mgr has no effect beside --remote" }] });
  });

  test("parseFlanneld() lets a later feature be switched off", () => {
    expect(exit(["--ip-masq=false", "--remote=", "--kube-subnet-mgr=0", "--networks=,"])).toBe("run");
  });

  test("parseFlanneld() leaves the choice of the firewall to the host, and masquerades nothing, unless told", () => {
    expect(options().firewall).toEqual({
      flavour: "auto",
      masquerade: false,
      excluded: [],
      clampMss: false,
      admission: true,
    });
    expect(
      options(
        "--ip-masq",
        "--firewall=nftables",
        "--ip-masq-exclude=192.0.2.7/24, fd00::/8,",
        "--underlay-admission=0",
        "--clamp-mss",
      ).firewall,
    ).toEqual({
      flavour: "nftables",
      masquerade: true,
      excluded: [parsePrefix("192.0.2.0/24"), parsePrefix("fd00::/8")],
      clampMss: true,
      admission: false,
    });
  });

  test.each([
    ["--firewall=iptables-legacy", '--firewall is "iptables-legacy", but must be auto, nftables, iptables or none'],
    ["--ip-masq-exclude=192.0.2.0", '--ip-masq-exclude: not a network in CIDR form, as 10.5.0.0/16: "192.0.2.0"'],
  ])("parseFlanneld() refuses %s", (flag, message) => {
    expect(exit([flag])).toEqual([1, `flanneld: ${message}`]);
  });

  test("parseFlanneld() accepts glog's flags", () => {
    const argv = [
      "-logtostderr=false",
      "-alsologtostderr",
      "-log_dir=/x",
      "-vmodule=a=1",
      "-stderrthreshold=INFO",
      "-log_backtrace_at=a.go:1",
    ];
    expect(exit(argv)).toBe("run");
  });

  test("parseFlanneld() tells everything that is wrong at once", () => {
    const parsed = parse(["--public-ip=zz", "--etcd-api=v3"]);
    expect(parsed).toMatchObject({ code: 1, stderr: expect.stringMatching(/--etcd-api.*\n.*--public-ip/) as string });
  });
});
