// EC2's instance metadata service, both versions: "Use instance metadata to manage your EC2 instance", Amazon EC2 User Guide.
import type { IncomingMessage, ServerResponse } from "node:http";
import { ACCOUNT, type FakeInstance, type FakeVpc, REGION, VPC } from "./fake-vpc.ts";
import type { Identity } from "./sigv4.ts";

export interface RoleCredentials extends Identity {
  readonly expires: Date;
}

export class InstanceMetadata {
  readonly #vpc: FakeVpc;
  readonly #tokens = new Map<string, number>();
  /** Without 1, tokens are needed; without 2, there are none. */
  versions: readonly (1 | 2)[] = [1, 2];
  isOn = true;
  /** Of the instance's role; undefined without one. */
  role: RoleCredentials | undefined;
  /** Items that an older service does not have. */
  readonly missing = new Set<string>();
  readonly requests: string[] = [];

  constructor(vpc: FakeVpc) {
    this.#vpc = vpc;
  }

  /** @param from the address that asks: each instance hears about itself */
  handle(request: IncomingMessage, response: ServerResponse, from: string): void {
    const path = decodeURIComponent(request.url ?? "");
    this.requests.push(`${request.method} ${path}`);
    const [status, body] = this.#answer(request, path, from);
    response.writeHead(status, { "content-type": "text/plain", server: "EC2ws" });
    response.end(body);
  }

  #answer({ method, headers }: IncomingMessage, path: string, from: string): readonly [status: number, body: string] {
    if (!this.isOn) return [403, ""];
    if (path === "/latest/api/token") return method === "PUT" ? this.#newToken(headers) : [405, ""];
    if (method !== "GET") return [405, ""];
    const token = headers["x-aws-ec2-metadata-token"];
    const isSecond = typeof token === "string" && (this.#tokens.get(token) ?? 0) > Date.now();
    if (!isSecond && (token !== undefined || !this.versions.includes(1))) return [401, ""];
    const instance = this.#vpc.instances.find(({ address }) => address === from) ?? this.#vpc.instances[0];
    if (instance === undefined || !path.startsWith("/latest/meta-data/")) return [404, ""];
    const item = path.slice("/latest/meta-data/".length);
    const value = this.missing.has(item) ? undefined : this.#items(instance)[item];
    return value === undefined ? [404, ""] : [200, value];
  }

  #newToken(headers: IncomingMessage["headers"]): readonly [number, string] {
    if (!this.versions.includes(2)) return [404, ""];
    const seconds = Number(headers["x-aws-ec2-metadata-token-ttl-seconds"]);
    if (!(seconds >= 1 && seconds <= 21_600) || headers["x-forwarded-for"] !== undefined) return [400, ""];
    const token = `token-${this.#tokens.size}==`;
    this.#tokens.set(token, Date.now() + seconds * 1000);
    return [200, token];
  }

  #items({ id, mac, networkInterface, subnet, address, ipv6 }: FakeInstance): Readonly<Record<string, string>> {
    const own = `network/interfaces/macs/${mac}`;
    return {
      "instance-id": id,
      "placement/region": REGION,
      "placement/availability-zone": `${REGION}a`,
      "services/partition": "aws",
      "network/interfaces/macs/": `${mac}/`,
      [`${own}/local-ipv4s`]: address,
      [`${own}/interface-id`]: networkInterface,
      [`${own}/subnet-id`]: subnet,
      [`${own}/vpc-id`]: VPC,
      [`${own}/owner-id`]: ACCOUNT,
      [`${own}/vpc-ipv4-cidr-blocks`]: this.#vpc.range,
      ...(ipv6 !== undefined && { [`${own}/ipv6s`]: ipv6 }),
      ...(this.#vpc.ipv6Range !== undefined && { [`${own}/vpc-ipv6-cidr-blocks`]: this.#vpc.ipv6Range }),
      ...(this.role !== undefined && {
        "iam/security-credentials/": "flannel",
        "iam/security-credentials/flannel": JSON.stringify({
          Code: "Success",
          LastUpdated: new Date().toISOString(),
          Type: "AWS-HMAC",
          AccessKeyId: this.role.key,
          SecretAccessKey: this.role.secret,
          Token: this.role.token,
          Expiration: this.role.expires.toISOString(),
        }),
      }),
    };
  }
}
