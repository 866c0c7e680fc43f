// What docs/running.md gives to other programs, and the image, as those programs see them: Debian's cloud-init, ignition and skopeo.
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { load } from "js-yaml";
import { afterAll, beforeAll, expect, test } from "vitest";
import { debianRoot, type Root } from "./debian-root.ts";
import { architecture, one, release } from "./release.ts";

const document = readFileSync(new URL("../../docs/running.md", import.meta.url), "utf8")
  .replaceAll("VERSION", "0.1.0")
  .replaceAll("SHA256", "0".repeat(64));

let root: Root;

beforeAll(() => {
  root = debianRoot();
  root.run("apt-get", "update", "-q");
  root.run("apt-get", "install", "-q", "-y", "--no-install-recommends", "cloud-init", "ignition", "skopeo");
}, 900_000);

afterAll(() => root?.[Symbol.dispose]());

/** The document's piece of YAML that begins so. */
function snippet(beginning: string): string {
  const found = /^```yaml\n([^]*?)^```$/gm;
  const text = [...document.matchAll(found)]
    .map(([, inner = ""]) => inner)
    .find((inner) => inner.startsWith(beginning));
  if (text === undefined) throw new Error(`no piece of YAML begins with ${beginning}`);
  return text;
}

function bring(name: string, text: string): string {
  writeFileSync(join(root.path, "root", name), text);
  return `/root/${name}`;
}

test("the piece for cloud-init is what cloud-init takes", () => {
  const text = snippet("#cloud-config");
  expect(root.run("cloud-init", "schema", "--config-file", bring("cloud.yaml", text))).toContain("Valid cloud-config");
  const wrong = text.replace("- path:", "- paths:");
  expect(() => root.run("cloud-init", "schema", "--config-file", bring("wrong.yaml", wrong))).toThrow("Command failed");
});

interface Butane {
  readonly storage: { readonly files: readonly { readonly path: string; readonly contents: ButaneContents }[] };
  readonly systemd: unknown;
}
interface ButaneContents {
  readonly inline?: string;
  readonly source?: string;
  readonly verification?: unknown;
}

/** What Butane makes of it, which is not in Debian: "Flatcar Specification v1.0.0", Ignition 3.3.0. */
function asIgnition({ storage, systemd }: Butane): string {
  const contents = ({ inline, ...others }: ButaneContents) =>
    inline === undefined ? others : { ...others, source: `data:,${encodeURIComponent(inline)}` };
  const files = storage.files.map((file) => ({ ...file, contents: contents(file.contents) }));
  return JSON.stringify({ ignition: { version: "3.3.0" }, storage: { files }, systemd });
}

test("the piece for Ignition is what Ignition takes", () => {
  const config = load(snippet("variant: flatcar\nversion: 1.0.0\n")) as Butane;
  const text = asIgnition(config);
  expect(root.run("ignition-validate", bring("config.ign", text))).toBe("");
  const wrong = text.replace("/opt/flannel.tar.gz", "opt/flannel.tar.gz");
  expect(() => root.run("ignition-validate", bring("wrong.ign", wrong))).toThrow("Command failed");
});

test.each(["docker-archive", "oci-archive"])("the image can be read as %s, with its name and all its bytes", (form) => {
  const image = one(release(), `-linux-${architecture}-image.tar`);
  cpSync(image, join(root.path, "root/image.tar"));
  const config = JSON.parse(root.run("skopeo", "inspect", "--config", `${form}:/root/image.tar`)) as {
    readonly architecture: string;
    readonly config: { readonly Entrypoint: readonly string[] };
  };
  expect(config).toMatchObject({ architecture, config: { Entrypoint: ["/usr/bin/flanneld"] } });
  root.run("skopeo", "--insecure-policy", "copy", "-q", `${form}:/root/image.tar`, `dir:/root/${form}`); // checks digests
  if (form !== "docker-archive") return;
  const version = /^flannel-(.+)-linux-/.exec(basename(image))?.[1] ?? "";
  const named = `docker-archive:/root/image.tar:flannel:${version}-${architecture}`;
  expect(root.run("skopeo", "inspect", "--config", named)).toContain("flanneld");
});
