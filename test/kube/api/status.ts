import { type KubeObject, qualifiedName, type Resource } from "./objects.ts";

/** An answer other than success, in the words of the API: kind `Status`, API conventions, "Response Status Kind". */
export class StatusError extends Error {
  override readonly name = "StatusError";
  readonly code: number;
  readonly reason: string;
  readonly details: Readonly<Record<string, unknown>>;
  readonly headers: Readonly<Record<string, string>>;
  /** The list's metadata: a token that goes on with an expired listing. */
  readonly next: string | undefined;

  constructor(
    code: number,
    reason: string,
    message: string,
    {
      details = {},
      headers = {},
      next,
    }: {
      readonly details?: Readonly<Record<string, unknown>>;
      readonly headers?: Readonly<Record<string, string>>;
      readonly next?: string;
    } = {},
  ) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.details = details;
    this.headers = headers;
    this.next = next;
  }

  get body(): KubeObject {
    const { code, reason, message, details, next } = this;
    const metadata = next === undefined ? {} : { continue: next };
    const status = { status: "Failure", message, reason, details, code };
    return { kind: "Status", apiVersion: "v1", metadata: metadata as KubeObject["metadata"], ...status };
  }
}

export const noSuchPath = () => new StatusError(404, "NotFound", "the server could not find the requested resource");

export const notFound = (resource: Resource, name: string) =>
  new StatusError(404, "NotFound", `${qualifiedName(resource)} "${name}" not found`, {
    details: { name, ...(resource.group && { group: resource.group }), kind: resource.name },
  });

export const alreadyExists = (resource: Resource, name: string) =>
  new StatusError(409, "AlreadyExists", `${qualifiedName(resource)} "${name}" already exists`, {
    details: { name, kind: resource.name },
  });

export const conflict = (resource: Resource, name: string) =>
  new StatusError(
    409,
    "Conflict",
    `Operation cannot be fulfilled on ${qualifiedName(resource)} "${name}": the object has been modified; please apply your changes to the latest version and try again`,
    { details: { name, kind: resource.name } },
  );

export const badRequest = (message: string) => new StatusError(400, "BadRequest", message);

export const invalid = (resource: Resource, name: string, problem: string) =>
  new StatusError(422, "Invalid", `${resource.kind} "${name}" is invalid: ${problem}`, {
    details: {
      name,
      kind: resource.kind,
      causes: [{ reason: "FieldValueInvalid", message: problem.replace(/^[^:]*: /, ""), field: problem.split(":")[0] }],
    },
  });

export const expired = (message: string, next?: string) =>
  new StatusError(410, "Expired", message, next === undefined ? {} : { next });

export const methodNotAllowed = () =>
  new StatusError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");

export const unauthorized = () => new StatusError(401, "Unauthorized", "Unauthorized");
