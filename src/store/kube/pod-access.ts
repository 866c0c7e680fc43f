import { readFileSync } from "node:fs";
import { join } from "node:path";
import { StoreRefusedError } from "../../lease/errors.ts";
import { describeError, InvalidConfigError } from "../../lib/errors.ts";
import { TlsSource } from "../../lib/tls-source.ts";
import type { ApiAccess, Connection } from "./api-access.ts";
import { clusterName } from "./cluster-name.ts";

/** What a kubelet mounts into every pod: "Accessing the Kubernetes API from a Pod" in the Kubernetes documentation. */
export const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

/** As a pod of the cluster: the service account's token, which the kubelet renews under us, and the cluster's authority. */
export class PodAccess implements ApiAccess {
  readonly server: string;
  readonly cluster: string;
  readonly #token: string;
  readonly #tls: TlsSource;

  /** @throws {InvalidConfigError} if the files are not there */
  constructor(server: string, directory: string = SERVICE_ACCOUNT) {
    this.server = server;
    this.#token = join(directory, "token");
    const ca = join(directory, "ca.crt");
    this.#tls = new TlsSource({ ca }, { ca, cert: "", key: "" });
    this.cluster = clusterName(server, this.#tls.load().ca);
  }

  // oxlint-disable-next-line typescript/require-await -- what it throws is a rejection
  async connection(): Promise<Connection> {
    try {
      const token = readFileSync(this.#token, "utf8").trim(); // a page of memory, once per call: calls are minutes apart
      return { headers: { Authorization: `Bearer ${token}` }, tls: this.#tls.load() };
    } catch (error) {
      throw new StoreRefusedError(this.server, `no credentials: ${describeError(error)}`, { cause: error });
    }
  }

  refresh(): void {}
}

/** The API server as a pod knows it. @throws {InvalidConfigError} outside of a pod */
export function podServer({
  KUBERNETES_SERVICE_HOST: host,
  KUBERNETES_SERVICE_PORT: port,
}: Readonly<Record<string, string | undefined>>): string {
  if (!host || !port)
    throw new InvalidConfigError(
      "--kube-subnet-mgr",
      "this is no pod of a cluster (KUBERNETES_SERVICE_HOST is not set): say --kubeconfig-file or --kube-api-url",
    );
  return `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
}
