import type { ApiAccess, Connection } from "./api-access.ts";
import { clusterName } from "./cluster-name.ts";

/** Nobody in particular, where only `--kube-api-url` is given: `kubectl proxy`, or a server that lets everybody in. */
export class PlainAccess implements ApiAccess {
  readonly server: string;
  readonly cluster: string;

  constructor(server: string) {
    this.server = server;
    this.cluster = clusterName(server, undefined);
  }

  connection(): Promise<Connection> {
    return Promise.resolve({ headers: {}, tls: {} });
  }

  refresh(): void {}
}
