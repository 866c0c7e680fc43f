// Brings what the project needs: npm packages, Debian packages, the build. Plain JavaScript for any Node from 20 on, since it
// runs before anything is installed. What is there already is left alone and costs some milliseconds.
import { accessSync, constants, existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { distPrograms, emulatorPackages } from "./release/parts.mjs";
import { main, projectNode, quietly, root, run, StepFailed } from "./steps.mjs";

/** A program, and the Debian package that brings it. */
const DEMO_PROGRAMS = {
  ip: "iproute2",
  bridge: "iproute2",
  ping: "iputils-ping",
  sysctl: "procps",
  setsid: "util-linux",
};
const TEST_PROGRAMS = {
  ...DEMO_PROGRAMS,
  etcd: "etcd-server",
  etcdctl: "etcd-client",
  iptables: "iptables",
  nft: "nftables",
  iperf3: "iperf3",
  tcpdump: "tcpdump",
  ethtool: "ethtool",
  openssl: "openssl",
  sqlite3: "sqlite3",
  "/usr/bin/python3": "python3",
  ipset: "ipset",
  firewalld: "firewalld",
  kubectl: "kubernetes-client",
  microsocks: "microsocks",
  tc: "iproute2",
  flock: "util-linux",
  "/usr/lib/cni/bridge": "containernetworking-plugins",
  "systemd-analyze": "systemd",
  nsenter: "util-linux",
};
const PROGRAMS = { build: {}, demo: DEMO_PROGRAMS, dist: distPrograms(), test: TEST_PROGRAMS };

/** @param {keyof typeof PROGRAMS} purpose */
export async function prepare(purpose) {
  await installNpmPackages();
  await installDebianPackages(PROGRAMS[purpose], purpose === "dist" ? emulatorPackages() : []);
  const { build, isBuilt } = await import("./build.mjs");
  if (isBuilt()) return;
  const start = performance.now();
  await build();
  console.log(`building dist … ${((performance.now() - start) / 1000).toFixed(1)} s`);
}

async function installNpmPackages() {
  const missing = missingNpmPackage();
  if (missing === undefined) return;
  // Not through node_modules/.bin, which npm is about to take away: this Node and npm may be running from there.
  const outside = (process.env.PATH ?? "").split(delimiter).filter((directory) => !directory.includes("node_modules"));
  const env = { ...process.env, PATH: outside.join(delimiter) };
  const { npm_node_execpath: node, npm_execpath: npm } = process.env;
  const [command, args] =
    node && npm && existsSync(node) && !node.includes("node_modules") ? [node, [npm, "ci"]] : ["npm", ["ci"]];
  await quietly(`installing npm packages (${missing} is missing or of another version)`, command, args, { env });
  if (!existsSync(projectNode())) {
    throw new StepFailed(
      `no Node 26 came with the npm packages: needed is Linux on x64 or arm64, not ${process.platform} on ${process.arch}`,
    );
  }
}

/** The first package of package-lock.json that is not installed in that version, by what npm wrote down as installed. */
function missingNpmPackage() {
  const wanted = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
  const record = join(root, "node_modules/.package-lock.json");
  if (!existsSync(record)) return "everything";
  const installed = JSON.parse(readFileSync(record, "utf8")).packages;
  if (!existsSync(projectNode())) return `node-linux-${process.arch}`;
  return Object.entries(wanted)
    .filter(([path]) => path !== "")
    .find(([path, entry]) => {
      const found = installed[path];
      if (found === undefined) return entry.optional !== true; // another platform's
      return found.version !== entry.version || !existsSync(join(root, path));
    })?.[0]
    .replace(/^.*node_modules\//, "");
}

/** @param programs by each, the package that brings it @param others packages that are missing, and bring no program */
async function installDebianPackages(programs, others) {
  const missing = Object.keys(programs).filter((program) => !isProgram(program));
  const packages = [...new Set([...missing.map((program) => programs[program]), ...others])];
  if (packages.length === 0) return;
  const command = `apt-get install -y --no-install-recommends ${packages.join(" ")}`;
  const explain = (why) => {
    throw new StepFailed(`needed and not found: ${[...missing, ...others].join(", ")}. ${why}: ${command}`);
  };
  if (!isProgram("apt-get")) explain("There is no apt-get here; what Debian would need");
  if (process.getuid?.() !== 0) explain("As root");
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  await quietly("reading Debian's package lists", "apt-get", ["update"], { env });
  await withoutStartingServices(() =>
    quietly(`installing ${packages.join(", ")}`, "apt-get", command.split(" ").slice(1), { env }),
  );
  if (packages.includes("etcd-server")) await disableDebians("etcd");
  if (packages.includes("firewalld")) await disableDebians("firewalld");
}

/** @param name of a program on the PATH, or a path of its own */
function isProgram(name) {
  const path = name.startsWith("/") ? "/" : `${process.env.PATH ?? ""}${delimiter}/usr/sbin${delimiter}/sbin`;
  return path.split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, name), constants.X_OK);
      return statSync(join(directory, name)).isFile();
    } catch {
      return false;
    }
  });
}

const POLICY = "/usr/sbin/policy-rc.d";

/** Debian starts a server when it installs it, unless this file says no. One that is there already is the administrator's. */
async function withoutStartingServices(install) {
  if (existsSync(POLICY)) return install();
  const remove = () => rmSync(POLICY, { force: true });
  const onSignal = () => {
    remove();
    process.exit(130);
  };
  writeFileSync(POLICY, "#!/bin/sh\nexit 101\n", { mode: 0o755, flag: "wx" });
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  try {
    return await install();
  } finally {
    remove();
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  }
}

/** The tests start their own; the service that a package brings must not run now nor after the next boot. */
async function disableDebians(service) {
  if (existsSync("/run/systemd/system"))
    await run("systemctl", ["disable", "--now", `${service}.service`], { stdio: "ignore" });
  else if (isProgram("deb-systemd-helper"))
    await run("deb-systemd-helper", ["disable", `${service}.service`], {
      env: { ...process.env, DPKG_MAINTSCRIPT_PACKAGE: service }, // else it does nothing
      stdio: "ignore",
    });
  if (existsSync(`/etc/init.d/${service}`) && isProgram("update-rc.d"))
    await run("update-rc.d", [service, "disable"], { stdio: "ignore" });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    const purpose = process.argv[2] ?? "build";
    if (!Object.hasOwn(PROGRAMS, purpose)) throw new Error(`prepare what? one of ${Object.keys(PROGRAMS).join(", ")}`);
    await prepare(purpose);
    console.log("ready");
    return 0;
  });
}
