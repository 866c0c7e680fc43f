import { parseCursor } from "./cursor-text.ts";
import type { NetworkHub } from "./network-hub.ts";
import { type Reply, reply } from "./reply.ts";
import { type ApiRequest, cursorOf, patienceOf } from "./request.ts";
import { RequestError } from "./request-error.ts";

/** `GET /v1/`: which networks there are. */
export class NetworkApi {
  readonly #hub: NetworkHub | undefined;

  /** @param hub absent if the store cannot tell */
  constructor(hub: NetworkHub | undefined) {
    this.#hub = hub;
  }

  async watch(request: ApiRequest): Promise<Reply> {
    if (this.#hub === undefined) throw new RequestError(500, "unimplemented", "unsupported");
    const next = cursorOf(request);
    const text =
      next === undefined
        ? await this.#hub.snapshot()
        : await this.#hub.poll(parseCursor(next), { ...patienceOf(request), signal: request.signal });
    return reply(200, text, {}, "json");
  }
}
