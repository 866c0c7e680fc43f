import type { Reply } from "./reply.ts";
import type { ApiRequest } from "./request.ts";
import { RequestError } from "./request-error.ts";

/** `GET /v1/`: which networks there are. */
export class NetworkApi {
  async watch(_request: ApiRequest): Promise<Reply> {
    throw new RequestError(500, "unimplemented", "unsupported");
  }
}
