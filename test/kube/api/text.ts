import type { KubeObject } from "./objects.ts";

const texts = new WeakMap<KubeObject, string>();

/** An object as JSON, made once: thousands of nodes are listed again and again. */
export function textOf(object: KubeObject): string {
  let text = texts.get(object);
  if (text === undefined) texts.set(object, (text = JSON.stringify(object)));
  return text;
}
