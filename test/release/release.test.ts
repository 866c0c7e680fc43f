import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { complaints, hostsOf, untilPing, withPod } from "../e2e/hosts.ts";
import { debianRoot, Root } from "./debian-root.ts";
import { architecture, one, output, release, repacked } from "./release.ts";

const { signal } = new AbortController();
const VERSION = /^\d+\.\d+\.\d+\S* \(commit [0-9a-f]{12}\+?\)\n$/;

let files: readonly string[];
let lab: Lab;
const roots: Root[] = [];

/** The file for this machine. */
const ours = (ending: string) => one(files, `-linux-${architecture}${ending}`);

/** The file system of an image, unpacked as a container engine does. */
function imageRoot(file: string): Root {
  const root = new Root(mkdtempSync(join(tmpdir(), "flannel-image-")));
  roots.push(root);
  const layout = mkdtempSync(join(tmpdir(), "flannel-layout-"));
  output("tar", "-xf", file, "-C", layout);
  const [{ Layers }] = JSON.parse(readFileSync(join(layout, "manifest.json"), "utf8")) as [
    { Layers: readonly string[] },
  ];
  for (const layer of Layers) output("tar", "-xzf", join(layout, layer), "-C", root.path);
  rmSync(layout, { recursive: true });
  return root;
}

function freshRoot(): Root {
  const root = debianRoot();
  roots.push(root);
  return root;
}

/** Lets a host of the lab be what is in a root, and starts its daemon by a command line there. */
async function startIn(host: LabHost, root: Root, argv: readonly string[]): Promise<void> {
  host.daemon.argv = root.enter(argv, host.directory);
  await host.startDaemon();
  await host.addPod();
}

beforeAll(async () => {
  files = release();
  debianRoot()[Symbol.dispose](); // the first one takes Debian's registry its time
  lab = await Lab.up({ hosts: 3, backend: "vxlan", store: "etcd2", daemons: false, pods: 0, signal });
}, 900_000);

afterAll(async () => {
  await lab?.down();
  for (const root of roots) root[Symbol.dispose]();
});

test("the tarball runs on a Debian without Node, with no capability but CAP_NET_ADMIN and CAP_NET_RAW", async () => {
  const root = freshRoot();
  const [host] = lab.hosts;
  if (host === undefined) throw new Error("no host");
  expect(existsSync(join(root.path, "usr/bin/node"))).toBe(false);
  output("tar", "-xzf", ours(".tar.gz"), "--strip-components=1", "-C", join(root.path, "usr/local"));
  expect(root.run("/usr/local/bin/flannel", "version")).toMatch(VERSION);
  const said = (program: string) => root.run("/bin/sh", "-c", `${program} --version 2>&1`);
  expect(said("/usr/local/bin/flanneld")).toBe(said("/usr/local/lib/flannel/flanneld"));
  expect(root.run("/bin/sh", "-c", "CNI_COMMAND=VERSION flannel-cni </dev/null")).toContain("supportedVersions");
  const narrow = ["setpriv", "--bounding-set=-all,+net_admin,+net_raw", "--inh-caps=-all", "--no-new-privs"];
  await startIn(host, root, [...narrow, "/usr/local/bin/flanneld", ...host.daemon.argv.slice(1)]);
  const status = readFileSync(`/proc/${host.daemon.pid}/status`, "utf8");
  expect(/^CapEff:\s*(\w+)$/m.exec(status)?.[1]).toBe("0000000000003000"); // bits 12 and 13
});

test("the image's file system runs by itself, with a shell for the process that keeps descriptors, nft and iptables", async () => {
  const root = imageRoot(ours("-image.tar"));
  const host = lab.hosts[2];
  if (host === undefined) throw new Error("no host");
  await startIn(host, root, ["/usr/bin/flanneld", ...host.daemon.argv.slice(1)]);
  const [first] = hostsOf(lab, 1);
  const { pod } = withPod(host);
  if (first === undefined) throw new Error("no host");
  await untilPing(first.pod, pod, 10_000);
  await untilPing(pod, first.pod, 10_000);
  expect(root.run("/bin/sh", "-c", "exec sleep 0")).toBe("");
  const tables = () => host.run(root.enter(["nft", "list", "tables"]));
  await waitUntil(async () => (await tables()).includes("table ip flannel-10.5.0.0-16"), {
    signal,
    within: 10_000,
    what: "the daemon has its rules by the image's nft",
  });
  expect(await host.run(root.enter(["iptables", "-t", "nat", "-S", "POSTROUTING"]))).toContain("-P POSTROUTING ACCEPT");
  expect(await host.run(root.enter(["flannel", "version"]))).toMatch(VERSION);
  expect(complaints(host)).toEqual([]);
});

test("the same parts give the same archives, byte for byte", () => {
  using again = repacked();
  const names = readdirSync(again.path).toSorted();
  expect(names).toHaveLength(5);
  const sums = readFileSync(one(files, "SHA256SUMS"), "utf8");
  for (const name of names) {
    const [sum] = output("sha256sum", join(again.path, name)).split(" ");
    expect(sums).toContain(`${sum}  ${name}\n`);
  }
});

test("the sums are those of the files, the parts are listed, and each has its licence", () => {
  const directory = join(one(files, "SHA256SUMS"), "..");
  expect(output("/bin/sh", "-c", 'cd "$1" && sha256sum -c SHA256SUMS', "sh", directory)).not.toContain("FAILED");
  const tree = output("tar", "-tzf", ours(".tar.gz"));
  const sbom = JSON.parse(readFileSync(ours(".cdx.json"), "utf8")) as {
    readonly bomFormat: string;
    readonly components: readonly { readonly name: string; readonly purl: string }[];
  };
  expect(sbom.bomFormat).toBe("CycloneDX");
  const names = sbom.components.map(({ name }) => name);
  expect(names).toEqual(expect.arrayContaining(["node", "koffi", "pino", "libatomic1"]));
  for (const { name, purl } of sbom.components) {
    const file = purl.startsWith("pkg:npm/")
      ? `npm/${name.replaceAll("/", "_")}`
      : name.replace("libatomic1", "libatomic");
    expect(tree).toContain(`/licences/${file}.txt\n`);
  }
});

test("what is for the other architecture is for it, and complete: it starts on its own libraries, emulated", () => {
  const [other, machine, emulator] =
    architecture === "amd64"
      ? ["arm64", "AArch64", "qemu-aarch64-static"]
      : ["amd64", "Advanced Micro Devices X86-64", "qemu-x86_64-static"];
  const theirs = (ending: string) => one(files, `-linux-${other}${ending}`);
  const root = imageRoot(theirs("-image.tar"));
  const header = output("readelf", "-h", join(root.path, "usr/bin/flannel"));
  expect(header).toContain(machine);
  expect(output("dpkg-deb", "-f", one(files, `_${other}.deb`), "Architecture").trim()).toBe(other);
  const list = (ending: string) =>
    output("tar", "-tzf", one(files, ending))
      .replaceAll(basename(one(files, ending), ".tar.gz"), "")
      .split("\n");
  expect(list(`-linux-${other}.tar.gz`)).toEqual(list(`-linux-${architecture}.tar.gz`));
  expect(output(emulator, "-L", root.path, join(root.path, "usr/bin/flannel"), "version")).toMatch(VERSION);
});
