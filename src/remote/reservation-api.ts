import { containsPrefix } from "../ip/prefix.ts";
import { LeaseLostError } from "../lease/errors.ts";
import type { Administration } from "../lease/subnet-manager.ts";
import { formatReservations } from "./api-json.ts";
import type { Authorization } from "./authorization.ts";
import type { Failures } from "./failures.ts";
import { type Reply, reply } from "./reply.ts";
import { type ApiRequest, networkOf, reservationIn, subnetOf } from "./request.ts";
import { RequestError } from "./request-error.ts";
import type { ServedStore } from "./served-store.ts";

/** `/v1/{network}/reservations`. Failures are thrown; `Failures` puts them into words. */
export class ReservationApi {
  readonly #store: ServedStore;
  readonly #authorization: Authorization;
  readonly #failures: Failures;

  constructor(parts: { readonly store: ServedStore; readonly authorization: Authorization }, failures: Failures) {
    this.#store = parts.store;
    this.#authorization = parts.authorization;
    this.#failures = failures;
  }

  async listReservations(request: ApiRequest): Promise<Reply> {
    const reservations = await this.#administration().listReservations(networkOf(request), request);
    return reply(200, formatReservations(reservations), {}, "json");
  }

  async addReservation(request: ApiRequest): Promise<Reply> {
    const network = networkOf(request);
    const reservation = reservationIn(request);
    this.#authorization.requireAdmin(request.client);
    try {
      const administration = this.#administration();
      const config = await this.#store.manager.networkConfig(network, request);
      if (reservation.subnet.length !== config.subnetLength)
        throw new RequestError(500, "reservation subnet has mask incompatible with network config", "invalid-config");
      if (!containsPrefix(config.network, reservation.subnet))
        throw new RequestError(500, "reservation subnet is outside of flannel network", "invalid-config");
      await administration.addReservation(network, reservation, request);
    } catch (error) {
      const { status, text, code } = await this.#failures.explain(error, request);
      throw new RequestError(status, text === "unimplemented" ? text : `internal error: ${text}`, code, {
        cause: error,
      });
    }
    return reply(200);
  }

  async removeReservation(request: ApiRequest): Promise<Reply> {
    const network = networkOf(request);
    const subnet = subnetOf(request, "bad subnet");
    this.#authorization.requireAdmin(request.client);
    const administration = this.#administration();
    try {
      await administration.removeReservation(network, subnet, request);
    } catch (error) {
      if (!(error instanceof LeaseLostError)) throw error;
      throw await this.#failures.missingLease(network, subnet, request);
    }
    return reply(200);
  }

  #administration(): Administration {
    const { administration } = this.#store;
    if (administration === undefined) throw new RequestError(500, "unimplemented", "unsupported");
    return administration;
  }
}
