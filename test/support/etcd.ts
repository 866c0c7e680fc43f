import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { get as getHttp } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { ETCDCTL_PATIENCE } from "../../src/lab/lab-store.ts";
import { freePort } from "./free-port.ts";

/** How the server listens to clients by TLS. */
export interface EtcdTls {
  readonly cert: string;
  readonly key: string;
  /** With it, clients need a certificate of this authority. */
  readonly clientCa?: string;
}

export interface EtcdServerOptions {
  /** Serve the v2 API, `--enable-v2`; on unless false. */
  readonly v2?: boolean;
  readonly tls?: EtcdTls;
  /** Makes another cluster id of an otherwise equal server. */
  readonly token?: string;
  /** Instead of free ones; a server with the same ports and token as another has its cluster id too. */
  readonly ports?: EtcdPorts;
  readonly host?: string;
  /** Put before the command, as `ip netns exec f2-a`. */
  readonly wrapper?: readonly string[];
  readonly args?: readonly string[];
}

export interface EtcdPorts {
  readonly client: number;
  readonly peer: number;
}

/** A real etcd of one member, in a directory of its own. Disposing kills it and removes the directory. */
export class EtcdServer implements AsyncDisposable {
  readonly endpoint: string;
  readonly ports: EtcdPorts;
  readonly #options: EtcdServerOptions;
  readonly #directory = mkdtempSync(join(tmpdir(), "flannel-etcd-"));
  #process: ChildProcess | undefined;
  #log: string[] = [];

  private constructor(options: EtcdServerOptions, ports: EtcdPorts) {
    this.#options = options;
    this.ports = ports;
    this.endpoint = `${options.tls === undefined ? "http" : "https"}://${options.host ?? "127.0.0.1"}:${ports.client}`;
  }

  /** Resolves when it serves. */
  static async start(options: EtcdServerOptions = {}): Promise<EtcdServer> {
    const ports = options.ports ?? { client: await freePort(), peer: await freePort() };
    const server = new EtcdServer(options, ports);
    try {
      await server.start();
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
    return server;
  }

  /** Again on the same ports and the same data, after `stop()` or `kill()`. */
  async start(): Promise<void> {
    const { host = "127.0.0.1", tls, token, v2 = true, wrapper = [], args = [] } = this.#options;
    const peer = `http://${host}:${this.ports.peer}`;
    const metrics = `http://${host}:${await freePort()}`;
    const command = [
      ...wrapper,
      "etcd",
      "--name=default",
      `--data-dir=${this.dataDirectory}`,
      `--listen-client-urls=${this.endpoint}`,
      `--advertise-client-urls=${this.endpoint}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=default=${peer}`,
      `--initial-cluster-token=${token ?? "etcd-cluster"}`,
      `--listen-metrics-urls=${metrics}`,
      ...(v2 ? ["--enable-v2"] : []),
      ...(tls === undefined ? [] : [`--cert-file=${tls.cert}`, `--key-file=${tls.key}`]),
      ...(tls?.clientCa === undefined ? [] : ["--client-cert-auth", `--trusted-ca-file=${tls.clientCa}`]),
      ...args,
    ];
    const [program = "etcd", ...rest] = command;
    const child = spawn(program, rest, { stdio: ["ignore", "pipe", "pipe"] });
    this.#process = child;
    this.#log = [];
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => this.#log.push(text));
    child.once("error", (error) => this.#log.push(String(error)));
    await this.#serving(child);
  }

  get dataDirectory(): string {
    return join(this.#directory, "data");
  }

  /** A file name in the server's own directory, for snapshots and the like. */
  path(name: string): string {
    return join(this.#directory, name);
  }

  get log(): string {
    return this.#log.join("");
  }

  /** In an orderly way, by SIGTERM; the data stay. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** The same server with nothing in it; the cluster id stays, since it is made of ports and token. */
  async wipe(): Promise<void> {
    await this.kill();
    rmSync(this.dataDirectory, { recursive: true, force: true });
    await this.start();
  }

  /** Keeps connections open and answers nothing, until `thaw()`. */
  freeze(): void {
    this.#process?.kill("SIGSTOP");
  }

  thaw(): void {
    this.#process?.kill("SIGCONT");
  }

  /** etcdctl of the v3 API against this server; its standard output. */
  async ctl(...args: string[]): Promise<string> {
    return await this.#etcdctl("3", [`--endpoints=${this.endpoint}`, ...args]);
  }

  /** etcdctl of the v2 API against this server; its standard output. */
  async ctl2(...args: string[]): Promise<string> {
    return await this.#etcdctl("2", [`--endpoints=${this.endpoint}`, ...args]);
  }

  /** Keeps the v3 data of now in a file. Note that the v2 data are not in there: copy `dataDirectory` of a stopped server for them. */
  async saveSnapshot(file = this.path("snapshot.db")): Promise<string> {
    await this.ctl("snapshot", "save", file);
    return file;
  }

  /** Stops, puts the snapshot in the place of the data, and starts. */
  async restoreSnapshot(file = this.path("snapshot.db")): Promise<void> {
    await this.kill();
    rmSync(this.dataDirectory, { recursive: true, force: true });
    const peer = `http://${this.#options.host ?? "127.0.0.1"}:${this.ports.peer}`;
    const cluster = ["--name=default", `--initial-cluster=default=${peer}`, `--initial-advertise-peer-urls=${peer}`];
    const token = `--initial-cluster-token=${this.#options.token ?? "etcd-cluster"}`;
    await this.#etcdctl("3", ["snapshot", "restore", file, `--data-dir=${this.dataDirectory}`, ...cluster, token]);
    await this.start();
  }

  /** Forgets the v3 history before the present revision. */
  async compact(): Promise<void> {
    const status = JSON.parse(await this.ctl("endpoint", "status", "--write-out=json")) as [
      { readonly Status: { readonly header: { readonly revision: number } } },
    ];
    await this.ctl("compact", String(status[0].Status.header.revision));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #etcdctl(api: "2" | "3", args: readonly string[]): Promise<string> {
    const command = ["etcdctl", ...ETCDCTL_PATIENCE[api], ...args];
    const [program = "etcdctl", ...rest] = [...(this.#options.wrapper ?? []), ...command];
    const environment = { ...process.env, ETCDCTL_API: api };
    const { stdout } = await promisify(execFile)(program, rest, { env: environment, maxBuffer: 1 << 28 });
    return stdout;
  }

  async #serving(child: ChildProcess): Promise<void> {
    const metrics = child.spawnargs.find((argument) => argument.startsWith("--listen-metrics-urls="));
    const url = `${metrics?.slice("--listen-metrics-urls=".length)}/health`;
    for (let attempt = 0; attempt < 2_400; attempt++) {
      if (child.exitCode !== null || child.pid === undefined) throw new Error(`etcd did not start:\n${this.log}`);
      if (this.#options.wrapper === undefined ? await answers(url) : this.log.includes("ready to serve client")) return;
      await delay(25);
    }
    throw new Error(`etcd did not begin to serve:\n${this.log}`);
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill("SIGCONT");
    child.kill(signal);
    await exited;
  }
}

/** Whether etcd is installed; tests that need it say so and fail where it must be. */
export function etcdIsInstalled(): boolean {
  return (process.env["PATH"] ?? "").split(":").some((directory) => existsSync(join(directory, "etcd")));
}

function answers(url: string): Promise<boolean> {
  return new Promise((resolve) => {
    const request = getHttp(url, { timeout: 1000, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on("error", () => resolve(false));
    request.on("timeout", () => request.destroy());
  });
}
