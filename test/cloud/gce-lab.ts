import type { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { CloudLab, ipv6Of } from "./cloud-lab.ts";
import { ComputeApi, type GceInstance } from "./compute-api.ts";
import { GceMetadata } from "./gce-metadata.ts";
import { withEnv } from "./with-env.ts";

/** A lab whose hosts are instances of a Compute Engine project, each with its service account. */
export class GceLab implements AsyncDisposable {
  readonly api: ComputeApi;
  readonly metadata: GceMetadata;
  readonly #cloud: CloudLab;
  readonly #env: Disposable;

  /** @param lab without daemons: they need the environment that is set here */
  static async open(lab: Lab): Promise<GceLab> {
    const api = new ComputeApi();
    const metadata = new GceMetadata(api);
    const cloud = await CloudLab.open(lab, {
      metadata: (from) => (request, response) => metadata.handle(request, response, from),
      api: (request, response) => api.handle(request, response),
    });
    lab.hosts.forEach((host, index) =>
      api.launch(host.address, { mac: `02:00:00:00:00:0${index + 1}`, ipv6: ipv6Of(lab, host) }),
    );
    const gce = new GceLab({ api, metadata }, cloud);
    await gce.#sync();
    return gce;
  }

  private constructor({ api, metadata }: Pick<GceLab, "api" | "metadata">, cloud: CloudLab) {
    this.api = api;
    this.metadata = metadata;
    this.#cloud = cloud;
    api.onChange = () => this.#sync();
    this.#env = withEnv({
      CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE: `${cloud.apiUrl}/compute/v1/`,
      NODE_EXTRA_CA_CERTS: cloud.authority,
      HOME: "/nonexistent",
    });
  }

  /** The instance that the host is. */
  instance(host: LabHost): GceInstance {
    const found = this.api.instances.find(({ address }) => address === host.address);
    if (found === undefined) throw new Error(`${host.name} is no instance`);
    return found;
  }

  /** Makes the network what the project's routes say it is. */
  async #sync(): Promise<void> {
    const routes = new Map<string, string>();
    for (const route of this.api.routes) {
      const instance = this.api.instanceOf(route);
      if (instance?.state !== "running") continue;
      const { address, ipv6 = "" } = instance;
      routes.set(route.destRange, route.destRange.includes(":") ? ipv6 : address);
    }
    const machines = this.api.instances.map(({ mac, address, ipv6, canIpForward }) => ({
      mac,
      address,
      ipv6,
      isChecked: !canIpForward,
    }));
    await this.#cloud.carry(routes, machines);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#env[Symbol.dispose]();
    await this.#cloud[Symbol.asyncDispose]();
  }
}
