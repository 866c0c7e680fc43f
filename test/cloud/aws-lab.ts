import { formatPrefix } from "../../src/ip/prefix.ts";
import { IPV6_UNDERLAY } from "../../src/lab/address-plan.ts";
import type { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { SECRETS } from "./aws.ts";
import { CloudLab, ipv6Of } from "./cloud-lab.ts";
import { Ec2Api } from "./ec2-api.ts";
import { type FakeInstance, FakeVpc, SUBNET_TABLE } from "./fake-vpc.ts";
import { InstanceMetadata } from "./instance-metadata.ts";
import { withEnv } from "./with-env.ts";

/** A lab whose hosts are instances of a VPC, each with an instance role. */
export class AwsLab implements AsyncDisposable {
  readonly vpc: FakeVpc;
  readonly api: Ec2Api;
  readonly metadata: InstanceMetadata;
  readonly #cloud: CloudLab;
  readonly #env: Disposable;
  readonly #instances = new Map<LabHost, FakeInstance>();

  /** @param lab without daemons: they need the environment that is set here @param isIPv6Only whether the hosts' subnet has IPv6 alone */
  static async open(lab: Lab, { isIPv6Only = false } = {}): Promise<AwsLab> {
    const vpc = new FakeVpc("192.168.77.0/24", lab.switch.hasIPv6 ? formatPrefix(IPV6_UNDERLAY) : undefined);
    const api = new Ec2Api(vpc);
    const metadata = new InstanceMetadata(vpc);
    const role = { ...SECRETS, expires: new Date(Date.now() + 3_600_000) };
    api.identities.push(role);
    metadata.role = role;
    const cloud = await CloudLab.open(lab, {
      metadata: (from) => (request, response) => metadata.handle(request, response, from),
      api: (request, response) => api.handle(request, response),
    });
    const aws = new AwsLab({ vpc, api, metadata }, cloud);
    for (const host of lab.hosts) {
      const address = isIPv6Only ? await cloud.makeIPv6Only(host) : host.address;
      const instance = aws.#launch(host, address, ipv6Of(lab, host));
      if (isIPv6Only) metadata.missing.add(`network/interfaces/macs/${instance.mac}/local-ipv4s`);
    }
    await aws.#sync();
    return aws;
  }

  private constructor({ vpc, api, metadata }: Pick<AwsLab, "vpc" | "api" | "metadata">, cloud: CloudLab) {
    this.vpc = vpc;
    this.api = api;
    this.metadata = metadata;
    this.#cloud = cloud;
    vpc.onChange = () => this.#sync();
    this.#env = withEnv({ AWS_ENDPOINT_URL_EC2: cloud.apiUrl, NODE_EXTRA_CA_CERTS: cloud.authority });
  }

  #launch(host: LabHost, address: string, ipv6: string | undefined): FakeInstance {
    const number = Number(host.name.slice(1));
    const mac = `02:00:00:00:00:${number.toString(16).padStart(2, "0")}`;
    const instance = this.vpc.launch(address, { mac, ipv6 });
    this.#instances.set(host, instance);
    return instance;
  }

  /** The instance that the host is. */
  instance(host: LabHost): FakeInstance {
    const found = this.#instances.get(host);
    if (found === undefined) throw new Error(`${host.name} is no instance`);
    return found;
  }

  /** Makes the network what the VPC says it is. */
  async #sync(): Promise<void> {
    const routes = new Map<string, string>();
    for (const route of this.vpc.table(SUBNET_TABLE).routes) {
      const instance = this.vpc.instanceOf(route.target);
      if (instance?.isRunning !== true) continue;
      const { address, ipv6 = "" } = instance;
      routes.set(route.destination, route.destination.includes(":") ? ipv6 : address);
    }
    const machines = this.vpc.instances.map(({ mac, address, ipv6, sourceDestCheck }) => ({
      mac,
      address,
      ipv6,
      isChecked: sourceDestCheck,
    }));
    await this.#cloud.carry(routes, machines);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#env[Symbol.dispose]();
    await this.#cloud[Symbol.asyncDispose]();
  }
}
