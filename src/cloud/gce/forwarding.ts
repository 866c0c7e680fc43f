import * as v from "valibot";
import type { Abortable } from "../../lib/abortable.ts";
import type { Logger } from "../../lib/logger.ts";
import { CloudError, isCloudError } from "../cloud-error.ts";
import type { ForwardingApi } from "../forwarding-table.ts";
import type { ComputeApi } from "./client.ts";
import type { GceInstance } from "./metadata.ts";

const Instance = v.object({ canIpForward: v.optional(v.boolean(), false) });

/** Compute Engine drops packets that are neither from nor to an instance's own addresses unless `canIpForward` is set. */
export class IpForwarding implements ForwardingApi {
  readonly name: string;
  readonly #api: ComputeApi;
  readonly #self: GceInstance;
  readonly #logger: Logger;
  #saidBlind = false;

  constructor(api: ComputeApi, self: GceInstance, logger: Logger) {
    this.#api = api;
    this.#self = self;
    this.#logger = logger;
    this.name = `IP forwarding of ${self.name}`;
  }

  get steps(): number {
    return this.#api.steps;
  }

  async isOn(options: Abortable): Promise<boolean> {
    const { zone, name } = this.#self;
    const path = `zones/${zone}/instances/${name}`;
    const call = {
      method: "GET",
      path,
      query: { fields: "canIpForward" },
      permission: "compute.instances.get",
    } as const;
    try {
      return v.parse(Instance, await this.#api.call(call, options)).canIpForward;
    } catch (error) {
      if (!isCloudError(error, "permission")) throw error;
      if (!this.#saidBlind)
        this.#logger.info("no leave to see whether IP forwarding is on: it is taken for granted", { reason: error });
      this.#saidBlind = true;
      return true;
    }
  }

  /** Only people can, and not without interrupting the instance. */
  async turnOn(): Promise<void> {
    const { name, zone, project } = this.#self;
    throw new CloudError(
      "other",
      `IP forwarding is off on instance ${name}: Compute Engine drops what its pods send and receive. Create it with --can-ip-forward, or write canIpForward: true into what \`gcloud compute instances export ${name} --zone ${zone} --project ${project}\` shows and update the instance from that file`,
    );
  }
}
