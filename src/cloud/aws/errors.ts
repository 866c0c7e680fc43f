import { EC2ServiceException } from "@aws-sdk/client-ec2";
import { describeError } from "../../lib/errors.ts";
import { CloudError, type CloudErrorKind, certificateHint, foreignText } from "../cloud-error.ts";

/** An EC2 action that was asked for, with all that a message about its failure must say. */
export interface Ec2Request {
  /** As in a policy, without `ec2:`. */
  readonly action: string;
  /** The ARN that a policy would name for it; `*` for actions that know no resources. */
  readonly resource: string;
  readonly region: string;
}

/** "Error codes for the Amazon EC2 API", Amazon EC2 Developer Guide; `Client.` and `Server.` before them are older. */
const KINDS: Readonly<Record<string, CloudErrorKind>> = {
  UnauthorizedOperation: "permission",
  RouteLimitExceeded: "quota",
  RequestLimitExceeded: "throttled",
  RequestThrottled: "throttled",
  Throttling: "throttled",
  ThrottlingException: "throttled",
  EC2ThrottledException: "throttled",
  AuthFailure: "credentials",
  Blocked: "credentials",
  ExpiredToken: "credentials",
  ExpiredTokenException: "credentials",
  IncompleteSignature: "credentials",
  InvalidClientTokenId: "credentials",
  MissingAuthenticationToken: "credentials",
  OptInRequired: "credentials",
  RequestExpired: "credentials",
  SignatureDoesNotMatch: "credentials",
  UnrecognizedClientException: "credentials",
  CredentialsProviderError: "credentials",
  TokenProviderError: "credentials",
  RouteAlreadyExists: "conflict",
  "InvalidRoute.NotFound": "gone",
  "InvalidRouteTableID.NotFound": "gone",
  "InvalidRouteTableId.NotFound": "gone",
  "InvalidNetworkInterfaceID.NotFound": "gone",
};

/** What ReplaceRoute says of a route that is not there, with a code that says nothing. Seen with EC2: getmoto/moto#6425. */
const NO_ROUTE = /no route defined/;

/** Codes of errors that come before any answer. */
const UNREACHABLE = /^(E[A-Z]{4,}|CERT_|ERR_(TLS|SSL|SOCKET)|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_)/;

/**
 * What went wrong, in words that hold nothing secret: of a refused signature EC2 sends back what was signed, session token and all,
 * so none of its text is passed on.
 */
export function ec2Error(error: unknown, request: Ec2Request): Error {
  if (!(error instanceof Error)) return new CloudError("other", `${request.action} failed`);
  const { action, region } = request;
  const code = error.name === "Error" && "code" in error ? String(error.code) : error.name;
  const bare = code.replace(/^(Client|Server)\./, "");
  const kind = kindOf(action, bare, error);
  return new CloudError(kind, `ec2:${action} in ${region}: ${explain(kind, bare, error, request)}`);
}

/** Where credentials come from, STS for one, refuses in its own words, which must not be taken for EC2's. */
function isFromProvider(error: Error): boolean {
  return "$fault" in error && !(error instanceof EC2ServiceException);
}

function kindOf(action: string, code: string, error: Error): CloudErrorKind {
  if (isFromProvider(error)) return "credentials";
  if (action === "ReplaceRoute" && code === "InvalidParameterValue" && NO_ROUTE.test(error.message)) return "gone";
  const isAway = UNREACHABLE.test(codeOf(error)) || error.name === "TimeoutError";
  return KINDS[code] ?? (isAway ? "unreachable" : "other");
}

function explain(kind: CloudErrorKind, code: string, error: Error, request: Ec2Request): string {
  const text = foreignText(describeError(error));
  if (kind === "permission") {
    const who = /\barn:[\w:/+=,.@-]+/.exec(error.message)?.[0];
    return `not allowed${who === undefined ? "" : ` for ${who}`}; this policy would allow it: ${policyFor([request])}`;
  }
  if (kind === "throttled") return `EC2 asks for patience (${code}): this account makes more requests than it allows`;
  if (kind === "unreachable") return `EC2 cannot be reached: ${codeOf(error)}${certificateHint(codeOf(error))}`;
  if (code === "CredentialsProviderError" || code === "TokenProviderError")
    return `no credentials: ${text}; ${SOURCES}`;
  // What STS says of a refused signature is as little ours to show.
  if (isFromProvider(error) && KINDS[code] !== "credentials") return `no credentials: ${code}: ${text}; ${SOURCES}`;
  if (kind === "credentials") return `the credentials are not accepted (${code})`;
  return `${code}: ${text}`;
}

const SOURCES =
  "flanneld takes AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, shared files, a web identity or the instance's role";

function codeOf(error: Error): string {
  if ("code" in error && typeof error.code === "string") return error.code;
  return error.cause instanceof Error ? codeOf(error.cause) : error.name;
}

/** The IAM policy that allows exactly these requests. "Actions, resources, and condition keys for Amazon EC2", Service Authorization Reference. */
export function policyFor(requests: readonly Pick<Ec2Request, "action" | "resource">[]): string {
  return JSON.stringify({
    Version: "2012-10-17",
    Statement: requests.map(({ action, resource }) => ({
      Effect: "Allow",
      Action: `ec2:${action}`,
      Resource: resource,
    })),
  });
}
