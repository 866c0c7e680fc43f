import type { Abortable } from "../../lib/abortable.ts";
import type { Logger } from "../../lib/logger.ts";
import type { Notes } from "../../lib/notes.ts";
import { CloudError, isCloudError } from "../cloud-error.ts";
import type { ForwardingApi } from "../forwarding-table.ts";
import type { Ec2 } from "./client.ts";
import { policyFor } from "./errors.ts";
import type { Ec2Instance } from "./metadata.ts";

/** The interface that was allowed to forward, for hosts that may not ask. */
const NOTE = "aws-vpc: source/destination check turned off";

/**
 * EC2 drops packets that are neither from nor to an instance's own addresses while the source/destination check of the interface is on.
 * What 0.7.0's README asks for allows to turn it off and perhaps not to see it: then what was turned off once counts as off.
 */
export class SourceDestCheck implements ForwardingApi {
  readonly name: string;
  readonly #ec2: Ec2;
  readonly #self: Ec2Instance;
  readonly #notes: Notes;
  readonly #logger: Logger;
  #saidBlind = false;

  constructor(ec2: Ec2, self: Ec2Instance, { notes, logger }: { readonly notes: Notes; readonly logger: Logger }) {
    this.#ec2 = ec2;
    this.#self = self;
    this.#notes = notes;
    this.#logger = logger;
    this.name = `source/destination check of ${self.networkInterface}`;
  }

  get steps(): number {
    return this.#ec2.steps;
  }

  async isOn(options: Abortable): Promise<boolean | undefined> {
    const { instance, networkInterface } = this.#self;
    try {
      const check = await this.#ec2.sourceDestCheck(instance, networkInterface, options);
      return check === undefined ? undefined : !check;
    } catch (error) {
      if (!isCloudError(error, "permission")) throw error;
      if (!this.#saidBlind)
        this.#logger.info("no leave to see the source/destination check: it is turned off once for each interface", {
          reason: error,
        });
      this.#saidBlind = true;
      return this.#notes.get(NOTE) === networkInterface ? true : undefined;
    }
  }

  async turnOn(options: Abortable): Promise<void> {
    const { instance, networkInterface } = this.#self;
    try {
      await this.#ec2.turnOffCheckOfInterface(networkInterface, options);
    } catch (error) {
      if (!isCloudError(error, "permission")) throw error;
      await this.#ofWholeInstance(options);
    }
    this.#notes.set(NOTE, networkInterface);
    this.#logger.info("source/destination check turned off", { instance, networkInterface });
  }

  async #ofWholeInstance(options: Abortable): Promise<void> {
    const { instance, networkInterface } = this.#self;
    try {
      await this.#ec2.turnOffCheckOfInstance(instance, options);
    } catch (error) {
      if (!(error instanceof CloudError)) throw error;
      const policy = policyFor([
        { action: "ModifyNetworkInterfaceAttribute", resource: this.#ec2.arn("network-interface", networkInterface) },
      ]);
      const why =
        error.kind === "permission"
          ? `neither ec2:ModifyNetworkInterfaceAttribute nor ec2:ModifyInstanceAttribute is allowed; this policy would allow it: ${policy}`
          : `ec2:ModifyNetworkInterfaceAttribute is not allowed; this policy would allow it: ${policy}; and ${error.message}`;
      throw new CloudError(
        error.kind,
        `the source/destination check of ${networkInterface} cannot be turned off: ${why}`,
      );
    }
  }
}
