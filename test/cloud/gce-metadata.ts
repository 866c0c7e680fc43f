// Compute Engine's metadata server: "View and query VM metadata", Compute Engine documentation.
import type { IncomingMessage, ServerResponse } from "node:http";
import { type ComputeApi, type GceInstance, NETWORK, PROJECT, PROJECT_NUMBER, ZONE } from "./compute-api.ts";

export class GceMetadata {
  readonly #api: ComputeApi;
  /** What the service account's tokens are now. */
  token = "ya29.first-EXAMPLE-access-token";
  /** Whose network it is: another project's if it is shared. */
  networkOwner = PROJECT_NUMBER;
  mask = "255.255.255.0";
  /** Whether the instance has a service account. */
  hasAccount = true;

  constructor(api: ComputeApi) {
    this.#api = api;
    api.tokens.add(this.token);
  }

  /** From now on there is another token, and the former one is not accepted any more. */
  rotate(token: string): void {
    this.#api.tokens.delete(this.token);
    this.#api.tokens.add(token);
    this.token = token;
  }

  /** @param from the address that asks: each instance hears about itself */
  handle({ method, url = "", headers }: IncomingMessage, response: ServerResponse, from: string): void {
    const [path = "", query = ""] = url.split("?");
    const isRight =
      method === "GET" && headers["metadata-flavor"] === "Google" && headers["x-forwarded-for"] === undefined;
    const instance = this.#api.instances.find(({ address }) => address === from) ?? this.#api.instances[0];
    const value =
      instance === undefined ? undefined : this.#items(instance, query)[path.replace(/^\/computeMetadata\/v1\//, "")];
    const status = !isRight ? 403 : value === undefined ? 404 : 200;
    const type = typeof value === "string" ? "application/text" : "application/json";
    response.writeHead(status, { "metadata-flavor": "Google", server: "Metadata Server for VM", "content-type": type });
    response.end(status === 200 ? (typeof value === "string" ? value : JSON.stringify(value)) : "");
  }

  #items({ name, address, ipv6, mac }: GceInstance, query: string): Readonly<Record<string, unknown>> {
    const network = `projects/${this.networkOwner}/networks/${NETWORK}`;
    return {
      "": "instance/\nproject/\n",
      instance: "name\nzone\n",
      "project/project-id": PROJECT,
      "project/numeric-project-id": PROJECT_NUMBER,
      "instance/name": name,
      "instance/zone": `projects/${PROJECT_NUMBER}/zones/${ZONE}`,
      ...(query === "recursive=true" && {
        "instance/network-interfaces/": [
          { ip: address, mac, network, subnetmask: this.mask, ...(ipv6 !== undefined && { ipv6s: [ipv6] }) },
        ],
      }),
      ...(this.hasAccount && {
        "instance/service-accounts/default/token": {
          access_token: this.token,
          expires_in: 3599,
          token_type: "Bearer",
        },
      }),
    };
  }
}
