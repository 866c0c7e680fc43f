import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { load } from "js-yaml";
import { DaemonSet } from "kubernetes-models/apps/v1/DaemonSet";
import { ClusterRole } from "kubernetes-models/rbac.authorization.k8s.io/v1/ClusterRole";
import { ClusterRoleBinding } from "kubernetes-models/rbac.authorization.k8s.io/v1/ClusterRoleBinding";
import { ConfigMap } from "kubernetes-models/v1/ConfigMap";
import { Namespace } from "kubernetes-models/v1/Namespace";
import { ServiceAccount } from "kubernetes-models/v1/ServiceAccount";
import { describe, expect, test } from "vitest";
import { renderChart } from "../../scripts/render-chart.mjs";
import { parseAddress } from "../../src/ip/address.ts";
import { Lab } from "../../src/lab/lab.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { parseNetworkConfig } from "../../src/lease/network-config.ts";
import { failure } from "../../src/store/conformance/registry-bench.ts";
import { flanneld, root, run, temporaryDirectory } from "../cli/program.ts";
import { callPlugin } from "../cni/plugin.ts";
import { complaints, hostsOf, untilPing } from "../e2e/hosts.ts";
import { httpProbe } from "../support/http-probe.ts";
import { PREFIX } from "./annotations.ts";
import { KubeBench, signal, untilStanding } from "./bench.ts";
import { MANIFEST, type ManifestObject, manifestFile, manifestObject, manifestObjects } from "./manifest.ts";

const MODELS = { Namespace, ServiceAccount, ClusterRole, ClusterRoleBinding, ConfigMap, DaemonSet };

/** By the published JSON schema of its kind. @throws if it does not fit */
function validate(object: ManifestObject): void {
  const Model = MODELS[object.kind as keyof typeof MODELS];
  if (Model === undefined) throw new Error(`no schema for ${object.kind}`);
  new Model(structuredClone(object) as never).validate();
}

describe("dist/kube-flannel.yml", () => {
  test("the manifest holds six objects, each valid by the published schema of its kind", () => {
    const objects = manifestObjects();
    expect(objects.map(({ kind }) => kind)).toEqual(Object.keys(MODELS));
    for (const object of objects) expect(() => validate(object), object.kind).not.toThrow();
  });

  test("the schemas refuse what is missing or of another type", () => {
    const daemonSet = manifestObject("DaemonSet");
    const { selector: _, ...spec } = daemonSet.spec;
    expect(() => validate({ ...daemonSet, spec })).toThrow(/selector/);
    expect(() => validate({ ...manifestObject("ConfigMap"), data: { a: 5 } })).toThrow(/data/);
  });

  test("the manifest is the chart with its own values, and the chart has nothing but plain values in it", () => {
    const chart = join(root, "dist/flannel-chart");
    expect(readFileSync(MANIFEST, "utf8")).toBe(renderChart(chart));
    using directory = temporaryDirectory();
    cpSync(chart, directory.path, { recursive: true });
    for (const expression of [
      "{{ .Values.none }}",
      "{{ .Values.image }}",
      "{{ if .Values.network }}",
      "{{.Release.Name}}",
    ]) {
      writeFileSync(join(directory.path, "templates/x.yaml"), expression);
      expect(() => renderChart(directory.path), expression).toThrow(`x.yaml: ${expression} is no value of values.yaml`);
    }
  });

  test("every value of the chart is documented", () => {
    const values = load(readFileSync(join(root, "dist/flannel-chart/values.yaml"), "utf8")) as object;
    const leaves = (value: unknown, path: string): readonly string[] =>
      typeof value === "object" && value !== null
        ? Object.entries(value).flatMap(([key, each]) => leaves(each, path === "" ? key : `${path}.${key}`))
        : [path];
    const documents = readFileSync(join(root, "docs/kubernetes-install.md"), "utf8");
    for (const path of leaves(values, "")) expect(documents).toContain(`\`${path.replace(/^resources\./, "")}\``);
  });

  test("the role grants what flanneld asks of the API as a node, while it waits for one, and as a server, and nothing else", async () => {
    const { rules } = manifestObject("ClusterRole");
    await using bench = await KubeBench.open(rules);
    const { api } = bench;
    api.annotate("a", { [`${PREFIX}node-public-ip`]: "192.0.2.9", [`${PREFIX}public-ip-overwrite`]: "203.0.113.1" });
    bench.addPeer("b", "10.5.2.0/24", "192.0.2.2");
    const node = bench.manager();
    expect(await node.annotatedPublicIPs({ signal })).toEqual({ publicIP: parseAddress("192.0.2.9") });
    const lease = await bench.take(node);
    await node.updateLease("", lease, { ...lease.attributes, backendData: "new" }, { signal });
    await node.announceReady({ signal });
    await untilStanding(bench.follow(node), "10.5.1.0/24 203.0.113.1", "10.5.2.0/24 192.0.2.2");

    const waiting = bench.take(bench.manager({ node: "late" }));
    await waitUntil(() => bench.calls("watch").some(({ url }) => url.includes("fieldSelector")), {
      signal,
      within: 20_000,
      what: "a node that is not there is waited for",
    });
    api.addNode("late", ["10.5.3.0/24"]);
    await waiting;

    const server = bench.manager({ options: { node: undefined } });
    expect((await server.listLeases({ signal })).leases).toHaveLength(3);
    await bench.follow(server).until((updates) => updates.length > 0);

    const calls = api.calls.filter(({ user }) => user === "system:serviceaccount:kube-flannel:flannel");
    expect(calls.filter(({ status }) => status === 403)).toEqual([]);
    const granted = rules.flatMap(({ verbs, resources }) =>
      resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}`)),
    );
    expect(new Set(calls.map(({ verb, resource }) => `${verb} ${resource}`))).toEqual(new Set(granted));
  });

  test("a daemon that is known by POD_NAME, which the manifest's is not, is told the right that it lacks", async () => {
    await using bench = await KubeBench.open(manifestObject("ClusterRole").rules);
    const node = { kind: "pod", namespace: "kube-flannel", name: "kube-flannel-ds-x" } as const;
    expect(String(await failure(bench.take(bench.manager({ options: { node } }))))).toMatch(
      /StoreRefusedError: .*403 pods "kube-flannel-ds-x" is forbidden: .*cannot get resource "pods".*\(flannel needs .*; with POD_NAME also get of pods\)/,
    );
  });

  test("the DaemonSet's selector is that of later releases, so that it takes theirs over, and its pods carry it", () => {
    const { selector, template } = manifestObject("DaemonSet").spec;
    expect(selector.matchLabels).toEqual({ app: "flannel", "k8s-app": "flannel" });
    expect(template.metadata.labels).toMatchObject(selector.matchLabels);
  });

  test("every flag that the DaemonSet gives is one of flanneld's", async () => {
    const help = await run(flanneld, ["--help"]);
    const text = help.stdout + help.stderr;
    const { containers } = manifestObject("DaemonSet").spec.template.spec;
    const flags = containers.flatMap(({ args }) => args.map((arg) => arg.replace(/=.*/, "").replace(/^--?/, "")));
    expect(flags).toContain("ip-masq");
    for (const flag of flags) expect(text).toMatch(new RegExp(`^\\s*-{1,2}${flag}\\b`, "m"));
  });

  test("the network's config is one that flanneld takes", () => {
    expect(parseNetworkConfig(manifestFile("net-conf.json"))).toMatchObject({ backend: { type: "vxlan" } });
  });

  test("flanneld does its work, and is well and ready by the DaemonSet's probes, with the two capabilities left to it and /proc/sys read-only", async () => {
    const [container] = manifestObject("DaemonSet").spec.template.spec.containers;
    if (container === undefined) throw new Error("no container");
    const { args, securityContext, livenessProbe, readinessProbe } = container;
    expect(securityContext).toMatchObject({
      privileged: false,
      capabilities: { drop: ["ALL"], add: ["NET_ADMIN", "NET_RAW"] },
    });
    const kept = securityContext.capabilities.add.map((name) => `+${name.toLowerCase()}`).join(",");
    using directory = temporaryDirectory();
    const confined = join(directory.path, "flanneld");
    const inside = `mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec setpriv --bounding-set=-all,${kept} --inh-caps=-all --no-new-privs "$@"`;
    writeFileSync(confined, `#!/bin/sh\nexec unshare -m sh -c '${inside}' sh ${flanneld} "$@"\n`, { mode: 0o755 });
    const flags = args.filter((arg) => /^--(ip-masq|healthz-)/.test(arg));
    await using lab = await Lab.up({ hosts: 2, flanneld: [confined], flags, signal });
    const [a, b] = hostsOf(lab, 2);
    if (a === undefined || b === undefined) throw new Error("no hosts");
    await untilPing(a.pod, b.pod);
    expect(await a.run(["grep", "CapEff", `/proc/${a.daemon.pid}/status`])).toContain("0000000000003000");
    expect(complaints(a).filter((line) => !line.includes("table=sysctl"))).toEqual([]);
    expect(await httpProbe(a, livenessProbe.httpGet)).toBe("200 flanneld is running");
    expect(await httpProbe(a, readinessProbe.httpGet)).toBe("200 flanneld is ready");
    expect(await httpProbe(b, { ...livenessProbe.httpGet, host: a.address })).toBe("");
  });
});

describe("dist/install-cni.sh", () => {
  /** The project as it stands in the image, as far as the script looks. */
  function image(directory: string): string {
    mkdirSync(join(directory, "image"));
    cpSync(join(root, "dist"), join(directory, "image/dist"), { recursive: true });
    symlinkSync(join(root, "node_modules"), join(directory, "image/node_modules"));
    writeFileSync(join(directory, "cni-conf.json"), manifestFile("cni-conf.json"));
    for (const name of ["bin", "net.d"]) mkdirSync(join(directory, name));
    return join(directory, "image/dist");
  }

  async function install(directory: string): Promise<void> {
    const [bin = "", netd = "", conf = ""] = ["bin", "net.d", "cni-conf.json"].map((name) => join(directory, name));
    const env = { PATH: "/usr/bin:/bin" };
    expect(await run(join(directory, "image/dist/install-cni.sh"), [bin, netd, conf], { env })).toMatchObject({
      end: 0,
    });
  }

  test("install-cni.sh brings a plugin that runs without the image, and the conflist", async () => {
    using directory = temporaryDirectory();
    image(directory.path);
    await install(directory.path);
    const answer = await callPlugin(join(directory.path, "bin/flannel"), { command: "VERSION" });
    expect(answer).toMatchObject({ code: 0, json: { cniVersion: "1.1.0" } });
    expect(readFileSync(join(directory.path, "net.d/10-flannel.conflist"), "utf8")).toBe(manifestFile("cni-conf.json"));
    expect(readdirSync(join(directory.path, "net.d"))).toEqual(["10-flannel.conflist"]);
  });

  test("install-cni.sh copies nothing anew for the same version, and keeps the version before for plugins that still run", async () => {
    using directory = temporaryDirectory();
    const dist = image(directory.path);
    const bin = join(directory.path, "bin");
    const trees = () => readdirSync(bin).filter((name) => name.startsWith("."));
    await install(directory.path);
    const [first = ""] = trees();
    const { ino } = statSync(join(bin, first, "node"));
    await install(directory.path);
    expect([trees(), statSync(join(bin, first, "node")).ino]).toEqual([[first], ino]);
    const upgrade = async (version: string) => {
      writeFileSync(join(dist, "flannel-cni.cjs"), `console.log("${version}");`);
      await install(directory.path);
      expect(await run(join(bin, "flannel"))).toMatchObject({ end: 0, stdout: `${version}\n` });
    };
    await upgrade("second");
    expect(trees()).toHaveLength(2);
    await upgrade("third");
    expect(trees()).toHaveLength(2);
    expect(existsSync(join(bin, first))).toBe(false);
  });
});
