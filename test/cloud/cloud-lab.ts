import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatAddress } from "../../src/ip/address.ts";
import { formatPrefix, networkOf } from "../../src/ip/prefix.ts";
import { hostAddress, IPV6_UNDERLAY } from "../../src/lab/address-plan.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { launcher } from "../../src/lab/launcher.ts";
import type { Place } from "../../src/lab/place.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import type { Milliseconds } from "../../src/lib/clock.ts";
import { PATIENCE, untilPing } from "../e2e/hosts.ts";
import { makeCertificates } from "../support/certificates.ts";
import { saysOnce } from "../support/tcp.ts";
import { answering, type Handler } from "./listen.ts";

/** Where every cloud has its instances' metadata. */
const METADATA = "169.254.169.254";
const API_PORT = 8443;
/** Clouds keep idle connections for minutes. Node's six seconds are as long as daemons here are idle: they would write to what is being closed. */
const KEPT: Milliseconds = 120_000;

export interface CloudServers {
  readonly metadata: (from: string) => Handler;
  readonly api: Handler;
}

/** A host of the lab, as its cloud knows it. */
export interface CloudMachine {
  readonly mac: string;
  readonly address: string;
  readonly ipv6?: string | undefined;
  /** Whether packets from it must have its own addresses. */
  readonly isChecked: boolean;
}

/**
 * Makes a lab's switch a cloud's network: metadata at 169.254.169.254 by HTTP, an API by TLS with an authority of its own, and
 * between hosts only what the cloud's route table says.
 */
export class CloudLab implements AsyncDisposable {
  /** `https://192.168.77.254:8443` */
  readonly apiUrl: string;
  readonly authority: string;
  readonly #lab: Lab;
  readonly #cleanup: AsyncDisposableStack;
  #routes: ReadonlyMap<string, string> = new Map();
  #carrying: Promise<void> = Promise.resolve();

  static async open(lab: Lab, servers: CloudServers): Promise<CloudLab> {
    await using cleanup = new AsyncDisposableStack();
    const directory = mkdtempSync(join(tmpdir(), "cloud-"));
    cleanup.defer(() => rmSync(directory, { recursive: true }));
    const address = formatAddress(lab.switch.address);
    const { ca, server } = makeCertificates(directory, "cloud", [address]);
    const options = { cert: readFileSync(server.cert), key: readFileSync(server.key), keepAliveTimeout: KEPT };
    const [metadata, api] = [join(directory, "metadata"), join(directory, "api")];
    cleanup.use(
      await serve(metadata, (from) => createHttpServer({ keepAliveTimeout: KEPT }, answering(servers.metadata(from)))),
    );
    cleanup.use(await serve(api, () => createHttpsServer(options, answering(servers.api))));
    const { namespace } = lab.switch;
    await namespace.ip([`addr add ${METADATA}/16 dev br0`]);
    await namespace.sysctl(1, "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding");
    await namespace.sysctl(0, "net/ipv4/conf/all/send_redirects", "net/ipv4/conf/br0/send_redirects");
    const program = new URL("./forward-program.ts", import.meta.url).pathname;
    const child = namespace.spawn(
      [process.execPath, program, `${METADATA},80,${metadata}`, `${address},${API_PORT},${api}`],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    cleanup.defer(() => void child.kill("SIGKILL"));
    await saysOnce(child.stdout, "forwarding", { signal: lab.signal });
    return new CloudLab(lab, `https://${address}:${API_PORT}`, ca, cleanup.move());
  }

  private constructor(lab: Lab, apiUrl: string, authority: string, cleanup: AsyncDisposableStack) {
    this.#lab = lab;
    this.apiUrl = apiUrl;
    this.authority = authority;
    this.#cleanup = cleanup;
  }

  /** As in a subnet that has IPv6 alone: what a host has of IPv4 leads to the cloud's own services. @returns its address there */
  async makeIPv6Only(host: LabHost): Promise<string> {
    const { address, underlay } = this.#lab.switch;
    const linkLocal = `169.254.0.${host.name.slice(1)}`;
    await host.namespace.ip([
      `addr del ${host.address}/${underlay.length} dev eth0`,
      `addr add ${linkLocal}/16 dev eth0`,
      `route add ${formatAddress(address)} dev eth0`,
    ]);
    return linkLocal;
  }

  /** Routes as the cloud's table says, and drops what an instance may not send. @param routes hosts' addresses by destination */
  carry(routes: ReadonlyMap<string, string>, machines: readonly CloudMachine[]): Promise<void> {
    this.#carrying = this.#carrying.then(() => this.#carry(routes, machines));
    return this.#carrying;
  }

  async #carry(routes: ReadonlyMap<string, string>, machines: readonly CloudMachine[]): Promise<void> {
    const { namespace } = this.#lab.switch;
    const gone = [...this.#routes.keys()].filter((destination) => !routes.has(destination));
    const changed = [...routes].filter(([destination, via]) => this.#routes.get(destination) !== via);
    this.#routes = new Map(routes);
    const lines = [
      ...changed.map(([destination, via]) => `route replace ${destination} via ${via} dev br0`),
      ...gone.map((destination) => `route del ${destination}`),
    ];
    if (lines.length > 0) await namespace.ip(lines);
    const checked = machines.filter(({ isChecked }) => isChecked);
    const rules = [
      "table inet cloud {}",
      "delete table inet cloud",
      "add table inet cloud",
      "add chain inet cloud check { type filter hook prerouting priority -300; }",
      ...checked.flatMap(({ mac, address, ipv6 }) => [
        `add rule inet cloud check ether saddr ${mac} ip saddr != ${address} drop`,
        `add rule inet cloud check ether saddr ${mac} ip6 saddr != { ${ipv6 ?? "::"}, fe80::/10 } drop`,
      ]),
    ];
    await namespace.run(["nft", "-f", "-"], { input: `${rules.join("\n")}\n` });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}

/** An IPv6 address for each host, as the lab gives it where it has IPv6. */
export function ipv6Of(lab: Lab, host: LabHost): string | undefined {
  if (!lab.switch.hasIPv6) return undefined;
  return formatAddress(hostAddress(IPV6_UNDERLAY, Number(host.name.slice(1))));
}

/** The subnets that a host leased, IPv4 first. */
export function subnetsOf(host: LabHost): readonly string[] {
  const { subnet, ipv6 } = host.subnetEnv();
  const ranges = ipv6 === undefined ? [subnet] : [subnet, ipv6.subnet];
  return ranges.map(({ address, length }) => formatPrefix(networkOf(address, length)));
}

/** Waits until every pod reaches every other, by every family that they have. */
export async function untilAllPing(lab: Lab): Promise<void> {
  await waitUntil(async () => (await lab.ping()).every(({ time }) => time !== undefined), {
    signal: lab.signal,
    within: PATIENCE,
    what: "all pods reach each other",
  });
}

/** Waits until a pod answers another by both families (or, with `answered` false, by none). */
export async function untilPings(
  from: Place,
  to: Place,
  within: Milliseconds = PATIENCE,
  answered = true,
): Promise<void> {
  const byIPv6 = { title: `${to.title} by IPv6`, address: to.ipv6 ?? "" };
  await Promise.all([to, byIPv6].map((target) => untilPing(from, target, within, answered)));
}

/** What a daemon, or a library in it, wrote beside the log. */
export function strangeLines(host: LabHost): readonly string[] {
  return host.daemon
    .log()
    .split("\n")
    .filter((line) => line !== "" && !/^[IWE]\d{4} /.test(line));
}

/** Runs `flannel cleanup` on a host. @returns the routes that it names as removed @throws if it fails */
export async function cleanUp(host: LabHost, ...args: readonly string[]): Promise<readonly string[]> {
  const files = [`--state-dir=${host.stateDirectory}`, `--subnet-file=${host.subnetFile}`, "--subnet-dir=/nowhere"];
  const report = JSON.parse(await host.run([launcher("flannel"), "cleanup", "--json", ...files, ...args])) as {
    readonly removed: readonly { readonly kind: string; readonly name: string }[];
  };
  return report.removed.filter(({ kind }) => kind === "route").map(({ name }) => name);
}

/** Serves on a socket file what the forwarding program passes on; `open` makes the server for who asks. */
async function serve(path: string, open: (from: string) => Server): Promise<AsyncDisposable> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on("close", () => sockets.delete(socket)).on("error", () => socket.destroy()));
    socket.once("readable", () => {
      const first = (socket.read() ?? Buffer.alloc(0)) as Buffer;
      const end = first.indexOf("\n");
      socket.unshift(first.subarray(end + 1));
      open(first.toString("latin1", 0, end)).emit("connection", socket);
    });
  });
  server.listen(path);
  await once(server, "listening");
  return {
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
