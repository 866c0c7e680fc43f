// What a release is made of, as CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/).
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { projectNode, root } from "../steps.mjs";

const read = (path) => JSON.parse(readFileSync(join(root, path), "utf8"));

/** Licences as CycloneDX wants them: an SPDX identifier, or an expression of several. */
const licence = (text) =>
  text === undefined ? [] : [/\s/.test(text) ? { expression: text } : { license: { id: text } }];

/** A purl's form of an npm package's name. */
const npmPurl = (name, version) => `pkg:npm/${name.replace("@", "%40")}@${version}`;

function npmComponent(name) {
  const { version, integrity } = read("package-lock.json").packages[`node_modules/${name}`];
  const { license, description } = read(`node_modules/${name}/package.json`);
  const [, digest] = /^sha512-(.*)$/.exec(integrity);
  return {
    type: "library",
    "bom-ref": npmPurl(name, version),
    name,
    version,
    ...(description && { description }),
    hashes: [{ alg: "SHA-512", content: Buffer.from(digest, "base64").toString("hex") }],
    licenses: licence(license),
    purl: npmPurl(name, version),
  };
}

/** Node, and the libraries that are part of it. */
function nodeComponent() {
  const { node, ...parts } = JSON.parse(execFileSync(projectNode(), ["-p", "JSON.stringify(process.versions)"]));
  return {
    type: "platform",
    "bom-ref": `pkg:generic/node@${node}`,
    name: "node",
    version: node,
    licenses: licence("MIT"),
    purl: `pkg:generic/node@${node}`,
    components: Object.entries(parts).map(([name, version]) => ({
      type: "library",
      "bom-ref": `node:${name}@${String(version)}`,
      name,
      version,
    })),
  };
}

function debianComponent([name, version], arch) {
  const purl = `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${arch.name}`;
  return { type: "library", "bom-ref": purl, name, version, purl };
}

/** A UUID that is the same for the same release: version 8 of RFC 9562, of our own making. */
function serialNumber(...what) {
  const hex = createHash("sha256").update(what.join("\n")).digest("hex");
  const variant = ((Number.parseInt(hex[16], 16) & 3) | 8).toString(16);
  return `urn:uuid:${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/**
 * @param {{ build: { version: string, commit: string, time: number }, arch: object, packages: readonly string[], debian: readonly [string, string][] }} release
 *   names of npm packages; names and versions of Debian's
 */
export function makeSbom({ build, arch, packages, debian, kind }) {
  const { version, commit, time } = build;
  const own = `pkg:generic/flannel@${version}?arch=${arch.name}`;
  const components = [
    nodeComponent(),
    ...packages.map(npmComponent),
    ...debian.map((entry) => debianComponent(entry, arch)),
  ];
  const sbom = {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: serialNumber(version, commit, arch.name, kind),
    version: 1,
    metadata: {
      timestamp: new Date(time * 1000).toISOString(),
      component: {
        type: "application",
        "bom-ref": own,
        name: "flannel",
        version,
        licenses: licence("Apache-2.0"),
        purl: own,
        properties: [
          { name: "flannel:commit", value: commit },
          { name: "flannel:kind", value: kind },
        ],
      },
    },
    components,
    dependencies: [{ ref: own, dependsOn: components.map((component) => component["bom-ref"]) }],
  };
  return `${JSON.stringify(sbom, undefined, 2)}\n`;
}
