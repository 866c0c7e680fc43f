import type { FakeApiServer } from "../fake-api-server.ts";
import type { Answer } from "./answers.ts";
import type { FaultRule } from "./faults.ts";
import { StatusError } from "./status.ts";
import { ADMINS, type User } from "./users.ts";

/** What the fake's own paths do, for tests in other processes. @throws {StatusError} unless it is the admin */
export function control(api: FakeApiServer, path: string, user: User, body: string): Answer {
  if (!user.groups.includes(ADMINS)) throw new StatusError(403, "Forbidden", "the fake's own paths are for its admin");
  const content: unknown = body === "" ? {} : JSON.parse(body);
  const actions: Readonly<Record<string, () => unknown>> = {
    "/fake/calls": () => api.calls,
    "/fake/clear-calls": () => api.clearCalls(),
    "/fake/faults": () => api.faults.add(...(content as readonly FaultRule[])),
    "/fake/clear-faults": () => api.faults.clear(),
    "/fake/compact": () => api.store.compact(),
    "/fake/drop-connections": () => setImmediate(() => api.dropConnections()),
    "/fake/service-account": () => {
      const { token, namespace, name } = content as Readonly<Record<"token" | "namespace" | "name", string>>;
      api.users.addServiceAccount(token, namespace, name);
    },
    "/fake/expire-token": () => api.users.expireToken((content as { readonly token: string }).token),
  };
  const action = actions[path];
  if (action === undefined) throw new StatusError(404, "NotFound", `the fake has no ${path}`);
  const result = action();
  return { code: 200, text: JSON.stringify(Array.isArray(result) ? result : {}) };
}
