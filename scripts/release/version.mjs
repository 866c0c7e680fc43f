// What a build calls itself: the version of package.json, and the commit that it was made from.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../steps.mjs";

/** Output of git in this clone; undefined if there is none. */
function git(...args) {
  const { status, stdout } = spawnSync("git", args, { cwd: root, encoding: "utf8" });
  return status === 0 ? stdout.trim() : undefined;
}

/** The version in package.json, which a tag `v<version>` releases. */
export function manifestVersion() {
  return JSON.parse(readFileSync(join(root, "package.json"), "utf8")).version;
}

/** The commit, with 12 digits, and "+" if the work tree differs from it; undefined outside of a clone. */
export function commit() {
  const head = git("rev-parse", "--short=12", "HEAD");
  return head && `${head}${git("status", "--porcelain") === "" ? "" : "+"}`;
}

/** For the bundler: what src/cli/version.ts reads. */
export function commitDefinition() {
  return { FLANNEL_COMMIT: JSON.stringify(commit() ?? "") };
}

/** What `flanneld --version` says, as src/cli/version.ts words it: for the launcher, which needs no Node to say it. */
export function versionFile({ version, commit }) {
  return commit === "" ? `${version}\n` : `${version} (commit ${commit})\n`;
}

/**
 * What a build is called, and the time that its files carry, s.
 *
 * On the tag of package.json's version it is that version. Anywhere else it comes before it: `0.2.0-dev.17.g2a44d98d1c55`, with the
 * number of commits, which semver and Debian (`~` for `-`) order.
 */
export function describeBuild() {
  const version = manifestVersion();
  const hash = commit();
  if (hash === undefined) return { version: `${version}-dev`, commit: "", tagged: false, time: 0 };
  const tagged = (git("tag", "--points-at", "HEAD") ?? "").split("\n").includes(`v${version}`) && !hash.endsWith("+");
  const count = git("rev-list", "--count", "HEAD");
  return {
    version: tagged ? version : `${version}-dev.${count}.g${hash.replace("+", ".changed")}`,
    commit: hash,
    tagged,
    time: Number(git("log", "-1", "--format=%ct")),
  };
}
