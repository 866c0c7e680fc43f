import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/lib/clock.ts";
import { RecordingLogger } from "../../src/lib/recording-logger.ts";
import { failure } from "../../src/store/conformance/registry-bench.ts";
import type { ApiAccess } from "../../src/store/kube/api-access.ts";
import { KubeSubnetManager } from "../../src/store/kube/kube-subnet-manager.ts";
import { KubeconfigAccess } from "../../src/store/kube/kubeconfig-access.ts";
import { type Authority, makeCertificates } from "../support/certificates.ts";
import { signal } from "./bench.ts";
import { FakeApiServer } from "./fake-api-server.ts";
import { kubeconfigText } from "./kubeconfig.ts";
import { kubeOptions, RIGHTS } from "./manager.ts";

/** The user that may do what flannel does, by whatever means it shows who it is. */
const FLANNEL = { name: "client", groups: ["system:authenticated"] };

/** An API server with TLS that lets flannel in by token, password or client certificate. */
export class AccessBench implements AsyncDisposable {
  readonly directory: string;
  readonly authority: Authority;
  readonly api: FakeApiServer;
  #files = 0;

  static async start(): Promise<AccessBench> {
    const directory = mkdtempSync(join(tmpdir(), "kube-access-"));
    const authority = makeCertificates(directory, "kube");
    const read = (path: string) => readFileSync(path, "utf8");
    const tls = { cert: read(authority.server.cert), key: read(authority.server.key), clientCa: read(authority.ca) };
    const api = await FakeApiServer.start({ tls });
    api.grant("kube-flannel", "flannel", RIGHTS);
    api.create({
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "ClusterRoleBinding",
      metadata: { name: "by-name" },
      roleRef: { kind: "ClusterRole", name: "kube-flannel-flannel" },
      subjects: [{ kind: "User", name: FLANNEL.name }],
    });
    api.addNode("a", ["10.5.1.0/24"]);
    return new AccessBench(directory, authority, api);
  }

  private constructor(directory: string, authority: Authority, api: FakeApiServer) {
    this.directory = directory;
    this.authority = authority;
    this.api = api;
  }

  admit(token: string): string {
    this.api.users.addServiceAccount(token, "kube-flannel", "flannel");
    return token;
  }

  admitPassword(name: string, password: string): { readonly username: string; readonly password: string } {
    this.api.users.addPassword(name, password, FLANNEL);
    return { username: name, password };
  }

  /** Whether this lets us in; or why not. */
  async reads(access: ApiAccess): Promise<unknown> {
    const parts = { clock: systemClock, logger: new RecordingLogger() };
    await using manager = new KubeSubnetManager(kubeOptions("a"), access, parts);
    return await failure(manager.annotatedPublicIPs({ signal })).catch(() => "let in");
  }

  /** @param url `--kube-api-url` */
  async kubeconfig(options: Parameters<typeof kubeconfigText>[1], url?: string): Promise<KubeconfigAccess> {
    return await KubeconfigAccess.open(this.kubeconfigFile(options), url, systemClock);
  }

  kubeconfigFile(options: Parameters<typeof kubeconfigText>[1]): string {
    return this.write(
      `kubeconfig-${++this.#files}`,
      kubeconfigText(this.api.url, { ca: this.authority.ca, ...options }),
    );
  }

  /** A file of this test. @returns its path */
  write(name: string, text: string, mode = 0o600): string {
    const path = join(this.directory, name);
    writeFileSync(path, text, { mode });
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.api[Symbol.asyncDispose]();
    rmSync(this.directory, { recursive: true });
  }
}
