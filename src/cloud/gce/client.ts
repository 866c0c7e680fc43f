import { type AuthClient, GoogleAuth } from "google-auth-library";
import * as v from "valibot";
import type { Abortable } from "../../lib/abortable.ts";
import { type BackoffRange, backoff } from "../../lib/backoff.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import { describeError, isAbort } from "../../lib/errors.ts";
import { orAbort } from "../../lib/or-abort.ts";
import { CloudError, certificateHint, foreignText, isCloudError } from "../cloud-error.ts";
import { envUrl } from "../env-url.ts";
import { computeError, operationError } from "./errors.ts";
import type { GceInstance } from "./metadata.ts";
import { keepMetadataFromProxy } from "./no-proxy.ts";

export interface ComputeCall {
  readonly method: "GET" | "POST" | "DELETE";
  /** Below the project: `global/routes`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** What it takes: `compute.routes.create`. */
  readonly permission: string;
}

const SCOPE = "https://www.googleapis.com/auth/compute";
/** Of one request. */
const TIMEOUT: Milliseconds = 10_000;
/** Between two tries of what was refused because there are too many, and how many there are. */
const PATIENCE: BackoffRange = { first: 1_000, most: 8_000 };
const MOST_TRIES = 3;
/** Between two looks at an operation, and how long it may take. */
const POLL: BackoffRange = { first: 500, most: 2_000 };
const LONGEST_OPERATION: Milliseconds = 300_000;

const Operation = v.object({
  name: v.pipe(v.string(), v.regex(/^[\w.-]+$/)),
  status: v.string(),
  error: v.optional(
    v.object({
      errors: v.optional(
        v.array(v.object({ code: v.optional(v.string(), "error"), message: v.optional(v.string(), "") })),
        [],
      ),
    }),
  ),
});

/** The compute API of one project, v1, each call throwing a `CloudError` or the signal's reason. */
export class ComputeApi {
  readonly #self: Pick<GceInstance, "project">;
  readonly #base: URL;
  readonly #clock: Clock;
  #client: Promise<AuthClient> | undefined;
  #steps = 0;

  /** @param env as gcloud, which names the API's endpoint by CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE */
  constructor(self: Pick<GceInstance, "project">, env: Readonly<Record<string, string | undefined>>, clock: Clock) {
    this.#self = self;
    const name = "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE";
    const given = env[name] || "https://compute.googleapis.com/compute/v1/";
    this.#base = envUrl(name, given.endsWith("/") ? given : `${given}/`);
    this.#clock = clock;
    keepMetadataFromProxy(process.env);
  }

  /** Grows with every request. */
  get steps(): number {
    return this.#steps;
  }

  /** What too many requests kept from being done is tried again, and once more what other credentials might do. */
  async call(call: ComputeCall, { signal }: Abortable): Promise<unknown> {
    let isRenewed = false;
    for (let tries = 1; ; tries++) {
      try {
        return await this.#once(call, signal);
      } catch (error) {
        if (isCloudError(error, "credentials") && !isRenewed) {
          isRenewed = true;
          this.#client = undefined;
        } else if (isCloudError(error, "throttled") && tries < MOST_TRIES) {
          await this.#clock.sleep(backoff(tries, PATIENCE), { signal });
        } else throw error;
      }
    }
  }

  /** A call that changes something: resolves when the operation that it begins has ended well. */
  async change(call: ComputeCall, options: Abortable): Promise<void> {
    const started = this.#clock.now();
    let operation = this.#operation(await this.call(call, options));
    for (let looks = 1; operation.status !== "DONE"; looks++) {
      if (this.#clock.now() - started > LONGEST_OPERATION)
        throw new CloudError(
          "other",
          `${call.permission}: operation ${operation.name} has not ended within ${LONGEST_OPERATION / 60_000} min`,
        );
      await this.#clock.sleep(backoff(looks, POLL), options);
      const path = `global/operations/${operation.name}`;
      operation = this.#operation(
        await this.call({ method: "GET", path, permission: "compute.globalOperations.get" }, options),
      );
    }
    const [failure] = operation.error?.errors ?? [];
    if (failure !== undefined)
      throw operationError(failure.code, failure.message, { permission: call.permission, project: this.#self.project });
  }

  #operation(answer: unknown): v.InferOutput<typeof Operation> {
    const parsed = v.safeParse(Operation, answer);
    if (!parsed.success)
      throw new CloudError("other", "Compute Engine answers a change with something that is no operation");
    return parsed.output;
  }

  async #once({ method, path, query, body, permission }: ComputeCall, signal: AbortSignal): Promise<unknown> {
    signal.throwIfAborted();
    this.#steps++;
    const { project } = this.#self;
    const url = new URL(`projects/${project}/${path}`, this.#base);
    for (const [name, value] of Object.entries(query ?? {})) url.searchParams.set(name, value);
    const client = await this.#authenticated(signal);
    try {
      const { status, data } = await orAbort(
        client.request<unknown>({
          url: url.href,
          method,
          ...(body !== undefined && { data: body }),
          signal,
          timeout: TIMEOUT,
          retry: false,
          validateStatus: () => true,
        }),
        signal,
      );
      if (status >= 200 && status < 300) return data;
      throw computeError(status, data, { permission, project });
    } catch (error) {
      if (error instanceof CloudError) throw error;
      if (isAbort(error, signal)) throw signal.reason;
      throw unreachable(error, permission);
    }
  }

  async #authenticated(signal: AbortSignal): Promise<AuthClient> {
    // Without the project the library asks everybody for it, seconds long.
    this.#client ??= new GoogleAuth({ scopes: [SCOPE], projectId: this.#self.project }).getClient();
    try {
      const client = await orAbort(this.#client, signal);
      await orAbort(client.getAccessToken(), signal); // kept until it expires; what fails here is not the API's
      return client;
    } catch (error) {
      this.#client = undefined;
      if (isAbort(error, signal)) throw signal.reason;
      throw noCredentials(error);
    }
  }
}

/** The library may quote a key file that it cannot read. */
function noCredentials(error: unknown): CloudError {
  const code = codeOf(error);
  if (code !== undefined)
    return new CloudError("unreachable", `no token: nobody to ask: ${code}${certificateHint(code)}`);
  const why = error instanceof SyntaxError ? "the file is not JSON" : foreignText(describeError(error));
  return new CloudError(
    "credentials",
    `no credentials: ${why}; flanneld takes the file of GOOGLE_APPLICATION_CREDENTIALS, that of gcloud, or the instance's service account`,
  );
}

/** No connection to the API. */
function unreachable(error: unknown, permission: string): CloudError {
  const code = codeOf(error) ?? "";
  const what = code === "" ? foreignText(describeError(error)) : `${code}${certificateHint(code)}`;
  return new CloudError("unreachable", `${permission}: Compute Engine cannot be reached: ${what}`);
}

/** Of a connection that failed, as ECONNREFUSED; an answer's status is a number. */
function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return undefined;
  return /^[A-Z]/.test(error.code) ? error.code : undefined;
}
