import * as v from "valibot";
import { CloudError, type CloudErrorKind, foreignText } from "../cloud-error.ts";

/** A request to the compute API, with all that a message about its failure must say. */
export interface ComputeRequest {
  /** As in IAM: `compute.routes.create`. */
  readonly permission: string;
  readonly project: string;
}

/** "Compute Engine API errors": what every refusal looks like. */
const ErrorBody = v.object({
  error: v.object({
    message: v.optional(v.string(), ""),
    status: v.optional(v.string()),
    errors: v.optional(v.array(v.object({ reason: v.optional(v.string()) })), []),
    details: v.optional(v.array(v.object({ reason: v.optional(v.string()) })), []),
  }),
});

const REASONS: Readonly<Record<string, CloudErrorKind>> = {
  quotaExceeded: "quota",
  QUOTA_EXCEEDED: "quota",
  rateLimitExceeded: "throttled",
  userRateLimitExceeded: "throttled",
  RATE_LIMIT_EXCEEDED: "throttled",
  RESOURCE_ALREADY_EXISTS: "conflict",
  RESOURCE_NOT_FOUND: "gone",
  ACCESS_TOKEN_SCOPE_INSUFFICIENT: "permission",
  insufficientPermissions: "permission",
  forbidden: "permission",
};

const STATUSES: Readonly<Record<number, CloudErrorKind>> = {
  401: "credentials",
  403: "permission",
  404: "gone",
  409: "conflict",
  429: "throttled",
  502: "unreachable",
  503: "throttled",
  504: "unreachable",
};

/** What an answer that is no success means. */
export function computeError(status: number, body: unknown, request: ComputeRequest): CloudError {
  const parsed = v.safeParse(ErrorBody, body);
  const error = parsed.success ? parsed.output.error : { message: "", errors: [], details: [] };
  const reasons = [...error.errors, ...error.details].flatMap(({ reason }) => reason ?? []);
  const kind =
    reasons.map((reason) => REASONS[reason]).find((known) => known !== undefined) ?? STATUSES[status] ?? "other";
  return refusal(kind, `status ${status}`, error.message, reasons, request);
}

/** What an operation that ended with errors means. @param code as `QUOTA_EXCEEDED` */
export function operationError(code: string, message: string, request: ComputeRequest): CloudError {
  return refusal(REASONS[code] ?? "other", code, message, [code], request);
}

function refusal(
  kind: CloudErrorKind,
  code: string,
  message: string,
  reasons: readonly string[],
  { permission, project }: ComputeRequest,
): CloudError {
  const text = foreignText(message);
  const about = (what: string) => new CloudError(kind, `${permission}: ${what}`);
  if (reasons.includes("accessNotConfigured") || reasons.includes("SERVICE_DISABLED"))
    return new CloudError(
      "permission",
      `the Compute Engine API is off in project ${project} (gcloud services enable compute.googleapis.com)`,
    );
  if (kind === "permission" && isScope(reasons))
    return about(
      "the instance's access scopes do not allow it: it needs compute-rw (gcloud compute instances set-service-account --scopes compute-rw, while it is stopped)",
    );
  if (kind === "permission") {
    const missing = /Required '([\w.]+)' permission/.exec(message)?.[1] ?? permission;
    return about(
      `not allowed; a role with ${missing} would allow it (gcloud iam roles update flannel --project ${project} --add-permissions ${missing})`,
    );
  }
  if (kind === "quota")
    return about(
      `the quota of project ${project} is used up: ${text} Ask for more under "IAM & Admin, Quotas", or delete routes that are not needed`,
    );
  if (kind === "throttled") return about(`Compute Engine asks for patience (${code})`);
  if (kind === "credentials") return about("the credentials are not accepted");
  return about(text === "" ? code : `${code}: ${text}`);
}

function isScope(reasons: readonly string[]): boolean {
  return reasons.includes("ACCESS_TOKEN_SCOPE_INSUFFICIENT") || reasons.includes("insufficientPermissions");
}
