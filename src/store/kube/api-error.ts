import { StoreRefusedError, StoreUnavailableError } from "../../lease/errors.ts";
import type { Milliseconds } from "../../lib/clock.ts";
import { fields } from "./node.ts";

/** The API server answered, but not with what was asked for: its `Status`. Whoever asked may know what to make of it. */
export class ApiStatusError extends StoreUnavailableError {
  readonly status: number;
  /** What it asks us to wait, `Retry-After`. */
  readonly patience: Milliseconds;

  constructor(server: string, status: number, reason: string, patience: Milliseconds = 0) {
    super(server, `${status} ${reason}`);
    this.status = status;
    this.patience = patience;
  }

  /** Whether the server did what it should, though there was nothing to give: no trouble of its own. */
  get isAnswer(): boolean {
    return [400, 404, 409, 410, 422].includes(this.status);
  }

  /** As whoever retries understands it: what only a person can mend is a refusal. */
  get forCallers(): StoreRefusedError | this {
    const reason = this.message.slice(this.endpoint.length + 2);
    if (this.status === 401)
      return new StoreRefusedError(this.endpoint, `${reason} (is the token or certificate of this cluster?)`);
    if (this.status === 403)
      return new StoreRefusedError(
        this.endpoint,
        `${reason} (flannel needs get, list and watch of nodes, and patch of nodes/status; with POD_NAME also get of pods)`,
      );
    return this;
  }
}

const LONGEST_REASON = 300;

/** @param body a `Status`, or whatever stands between us and the API server */
export function statusError(
  server: string,
  {
    status,
    retryAfter,
    body,
  }: { readonly status: number; readonly retryAfter: string | undefined; readonly body: string },
): ApiStatusError {
  const seconds = Number(retryAfter ?? 0);
  return new ApiStatusError(server, status, messageOf(body), seconds > 0 ? seconds * 1000 : 0);
}

function messageOf(body: string): string {
  let text = body.trim();
  try {
    const { message } = fields(JSON.parse(body));
    if (typeof message === "string") text = message;
  } catch {} // no Status
  return text.replaceAll(/\s+/g, " ").slice(0, LONGEST_REASON) || "without a reason";
}
