import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loadAll } from "js-yaml";
import { root } from "../cli/program.ts";
import type { HttpProbe } from "../support/http-probe.ts";

/** An object of Kubernetes, as it stands in a manifest. */
export interface ManifestObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly [key: string]: unknown;
}

export const MANIFEST = join(root, "dist/kube-flannel.yml");

export function manifestObjects(): readonly ManifestObject[] {
  return loadAll(readFileSync(MANIFEST, "utf8")) as ManifestObject[];
}

/** What of each kind is looked at. */
interface Shapes {
  readonly ClusterRole: {
    readonly rules: readonly { readonly verbs: readonly string[]; readonly resources: readonly string[] }[];
  };
  readonly ConfigMap: { readonly data: Readonly<Record<string, string>> };
  readonly DaemonSet: {
    readonly spec: {
      readonly selector: { readonly matchLabels: object };
      readonly template: {
        readonly metadata: { readonly labels: object };
        readonly spec: { readonly containers: readonly Container[] };
      };
    };
  };
}

interface Container {
  readonly livenessProbe: { readonly httpGet: HttpProbe };
  readonly readinessProbe: { readonly httpGet: HttpProbe };
  readonly args: readonly string[];
  readonly securityContext: { readonly capabilities: { readonly add: readonly string[] } };
}

/** The first object of a kind. @throws if there is none */
export function manifestObject<Kind extends keyof Shapes>(kind: Kind): ManifestObject & Shapes[Kind] {
  const found = manifestObjects().find((object) => object.kind === kind);
  if (found === undefined) throw new Error(`no ${kind} in ${MANIFEST}`);
  return found as ManifestObject & Shapes[Kind];
}

/** A file of the ConfigMap. */
export function manifestFile(name: "cni-conf.json" | "net-conf.json"): string {
  const { data } = manifestObject("ConfigMap");
  const text = data[name];
  if (text === undefined) throw new Error(`no ${name} in the ConfigMap`);
  return text;
}
