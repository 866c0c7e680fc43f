// The chart, by Helm itself: that it says what our manifest says, which tests apply and look at, and takes its values.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { load, loadAll } from "js-yaml";
import { beforeAll, expect, test } from "vitest";
import { root } from "../cli/program.ts";
import { type ManifestObject, manifestObjects } from "../kube/manifest.ts";
import { helmPath } from "./helm.ts";

const CHART = join(root, "dist/flannel-chart");

let program: string;
beforeAll(() => {
  program = helmPath();
}, 300_000);

const helm = (...args: readonly string[]) =>
  execFileSync(program, args, { encoding: "utf8", env: { HOME: "/nonexistent" } });

/** Helm has an order of its own. */
function byName(objects: readonly ManifestObject[]): ReadonlyMap<string, ManifestObject> {
  return new Map(objects.map((each) => [`${each.kind} ${String((each["metadata"] as { name: unknown }).name)}`, each]));
}

function rendered(...values: readonly string[]): ReadonlyMap<string, ManifestObject> {
  const text = helm("template", "flannel", CHART, ...values.flatMap((value) => ["--set", value]));
  return byName(loadAll(text) as ManifestObject[]);
}

test("Helm finds no fault with the chart", () => {
  expect(helm("lint", "--strict", CHART)).toContain("1 chart(s) linted, 0 chart(s) failed");
});

test("Helm makes of the chart the objects of the manifest, each as it is there", () => {
  const ours = byName(manifestObjects());
  expect(ours.size).toBe(6);
  expect(rendered()).toEqual(ours);
});

test("what docs/kubernetes-install.md sets is in the objects, and every other value has its place", () => {
  const objects = rendered("image.repository=registry.example/flannel", "network=10.5.0.0/16", "backend=host-gw");
  const config = objects.get("ConfigMap kube-flannel-cfg")?.["data"] as { readonly "net-conf.json": string };
  expect(JSON.parse(config["net-conf.json"])).toEqual({ Network: "10.5.0.0/16", Backend: { Type: "host-gw" } });
  expect(JSON.stringify(objects.get("DaemonSet kube-flannel-ds"))).toContain('"image":"registry.example/flannel:');

  const values = load(readFileSync(join(CHART, "values.yaml"), "utf8")) as object;
  const unchanged = JSON.stringify([...rendered()]);
  for (const [path, value] of leaves(values)) {
    const other = typeof value === "number" ? String(value + 1) : `${String(value)}x`;
    expect(JSON.stringify([...rendered(`${path}=${other}`)]), path).not.toBe(unchanged);
  }
});

function leaves(values: object, before = ""): readonly (readonly [string, unknown])[] {
  return Object.entries(values).flatMap(([name, value]) =>
    typeof value === "object" && value !== null
      ? leaves(value, `${before}${name}.`)
      : [[`${before}${name}`, value] as const],
  );
}
