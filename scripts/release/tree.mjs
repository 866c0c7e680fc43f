// What a release installs, as a tree under a prefix: the tarball is this tree, the package and the image have it under /usr.
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { root } from "../steps.mjs";
import { releaseLauncher } from "./launcher.mjs";
import { licences } from "./licences.mjs";
import { versionFile } from "./version.mjs";

export const DOC = "share/doc/flannel";

/**
 * @param {{ arch: object, build: { version: string, commit: string }, executable: string, debian: string, packages: readonly string[], sbom: string }} parts
 * @param directory made anew
 */
export function makeTree({ arch, build, executable, debian, packages, sbom }, directory) {
  rmSync(directory, { recursive: true, force: true });
  const put = (path, contents, mode = 0o644) => {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), contents);
    chmodSync(join(directory, path), mode);
  };
  const link = (path, target) => {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    symlinkSync(target, join(directory, path));
  };
  put("bin/flannel", readFileSync(executable), 0o755);
  put("bin/flanneld", releaseLauncher(), 0o755);
  if (existsSync(join(root, "bin/flannel-cni"))) link("bin/flannel-cni", "flannel");
  link("lib/flannel/flanneld", "../../bin/flannel"); // so that it is called flanneld, also by ps
  put("lib/flannel/version", versionFile(build));
  put("lib/flannel/libatomic.so.1", readFileSync(realpathSync(join(debian, `usr/lib/${arch.gnu}/libatomic.so.1`))));
  for (const [path, source] of packaged()) put(path, readFileSync(source), path.endsWith(".sh") ? 0o755 : 0o644);
  for (const name of ["README.md", "CHANGELOG.md", "LICENSE"]) put(`${DOC}/${name}`, readFileSync(join(root, name)));
  cpSync(join(root, "docs"), join(directory, DOC, "docs"), { recursive: true });
  for (const [name, text] of licences(packages, debian)) put(`${DOC}/licences/${name}`, text);
  put(`${DOC}/sbom.cdx.json`, sbom);
  normalise(directory);
}

/** The same modes whatever the umask of whoever cloned was. */
function normalise(directory) {
  for (const entry of readdirSync(directory, { withFileTypes: true, recursive: true })) {
    if (entry.isSymbolicLink()) continue;
    const path = join(entry.parentPath, entry.name);
    chmodSync(path, entry.isDirectory() || (statSync(path).mode & 0o100) !== 0 ? 0o755 : 0o644);
  }
  chmodSync(directory, 0o755);
}

/** Files of packaging/, by where they go: unit files to where systemd looks, scripts to where no shell does. */
function packaged() {
  const files = [];
  const walk = (directory) => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory() && basename(path) === "debian") continue; // the package's own
      if (entry.isDirectory()) walk(path);
      else if (basename(directory) === "system") files.push([`lib/systemd/system/${entry.name}`, path]);
      else if (entry.name.endsWith(".sh")) files.push([`lib/flannel/${entry.name}`, path]);
      else files.push([`${DOC}/examples/${path.slice(join(root, "packaging/").length)}`, path]);
    }
  };
  if (existsSync(join(root, "packaging"))) walk(join(root, "packaging"));
  return files;
}
