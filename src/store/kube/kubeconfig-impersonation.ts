import { InvalidConfigError } from "../../lib/errors.ts";
import { fields } from "./node.ts";

type Headers = Readonly<Record<string, string | readonly string[]>>;

/**
 * As whom a user acts: `as`, `as-uid`, `as-groups`, `as-user-extra`. The library knows the first of them only, and would act with other
 * rights than the file says. "kubeconfig (v1)", AuthInfo, and "User impersonation" in the Kubernetes documentation.
 * @param user as it was parsed
 * @throws {InvalidConfigError} naming the field
 */
export function impersonationOf(user: unknown, name: string): Headers {
  const { as, "as-uid": uid, "as-groups": groups, "as-user-extra": extra } = fields(user);
  const wrong = (field: string, what: string) =>
    new InvalidConfigError("--kubeconfig-file", `${field} of user ${JSON.stringify(name)} must be ${what}`);
  const text = (field: string, value: unknown) => {
    if (!isHeaderValue(value)) throw wrong(field, `text without control characters, not ${JSON.stringify(value)}`);
    return value;
  };
  const list = (field: string, value: unknown) => {
    if (!Array.isArray(value)) throw wrong(field, `a list of texts, not ${JSON.stringify(value)}`);
    return value.map((each: unknown) => text(field, each));
  };
  const isAbsent = (value: unknown) => value === undefined || value === null || value === "";
  const more: Headers = {
    ...(!isAbsent(uid) && { "Impersonate-Uid": text("as-uid", uid) }),
    ...(!isAbsent(groups) && { "Impersonate-Group": list("as-groups", groups) }),
    ...Object.fromEntries(
      Object.entries(fields(extra)).map(([key, values]) => [
        `Impersonate-Extra-${headerName(key)}`,
        list(`as-user-extra ${JSON.stringify(key)}`, values),
      ]),
    ),
  };
  if (!isAbsent(as)) return { "Impersonate-User": text("as", as), ...more };
  if (Object.keys(more).length === 0) return {};
  throw wrong("as", "there where as-uid, as-groups or as-user-extra is");
}

function isHeaderValue(value: unknown): value is string {
  return typeof value === "string" && /^[\x20-\x7e\xa0-\xff]+$/.test(value);
}

/** What may not stand in the name of a header is written by its bytes. */
function headerName(key: string): string {
  return encodeURIComponent(key.toLowerCase()).replace(/[()]/g, (each) => `%${each.charCodeAt(0).toString(16)}`);
}
