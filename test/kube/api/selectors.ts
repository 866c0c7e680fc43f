import type { KubeObject } from "./objects.ts";
import { badRequest } from "./status.ts";

/** Whether an object is asked for. @throws {StatusError} 400 for a field that cannot be selected by */
export function selector(query: URLSearchParams): (object: KubeObject) => boolean {
  const fields = (query.get("fieldSelector") ?? "")
    .split(",")
    .filter((each) => each !== "")
    .map(fieldTest);
  const labels = (query.get("labelSelector") ?? "")
    .split(",")
    .filter((each) => each !== "")
    .map(labelTest);
  return (object) => fields.every((test) => test(object)) && labels.every((test) => test(object));
}

type Test = (object: KubeObject) => boolean;

function fieldTest(text: string): Test {
  const match = /^([\w.]+)(==?|!=)(.*)$/.exec(text);
  if (match === null) throw badRequest(`invalid selector: '${text}'; can't understand '${text}'`);
  const [, field = "", operator = "", value = ""] = match;
  const read: ((object: KubeObject) => unknown) | undefined = {
    "metadata.name": (object: KubeObject) => object.metadata.name,
    "metadata.namespace": (object: KubeObject) => object.metadata.namespace ?? "",
    "spec.nodeName": (object: KubeObject) => (object["spec"] as { nodeName?: string } | undefined)?.nodeName ?? "",
    "spec.unschedulable": (object: KubeObject) =>
      String((object["spec"] as { unschedulable?: boolean } | undefined)?.unschedulable ?? false),
  }[field];
  if (read === undefined) throw badRequest(`field label not supported: ${field}`);
  return (object) => (read(object) === value) === (operator !== "!=");
}

function labelTest(text: string): Test {
  const match = /^([\w./-]+)(?:(==?|!=)(.*))?$/.exec(text);
  if (match === null) throw badRequest(`unable to parse requirement: ${text}`);
  const [, key = "", operator, value = ""] = match;
  if (operator === undefined) return ({ metadata }) => metadata.labels?.[key] !== undefined;
  return ({ metadata }) => (metadata.labels?.[key] === value) === (operator !== "!=");
}
