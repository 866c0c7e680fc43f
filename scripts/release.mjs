// npm run release: is this commit fit to be released? Builds everything, checks it, lists it. It publishes nothing.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { dist, released } from "./dist.mjs";
import { size } from "./release/archive.mjs";
import { ARCHITECTURES } from "./release/parts.mjs";
import { describeBuild, manifestVersion } from "./release/version.mjs";
import { main, root, StepFailed, tool } from "./steps.mjs";

/** What CHANGELOG.md says of a version; undefined if it has no section, or an empty one. */
export function changelogSection(text, version) {
  const sections = text.split(/^## /m).slice(1);
  const section = sections.find((candidate) => candidate.replace(/^\[/, "").startsWith(version));
  const body = section?.split("\n").slice(1).join("\n").trim();
  return body === "" ? undefined : body;
}

/** Everything that speaks against a release of this commit. */
export function objections(build, changelog) {
  const version = manifestVersion();
  return [
    build.commit === "" && "this is no clone: a release is made from a commit",
    build.commit.endsWith("+") && "the work tree differs from the commit: git status",
    !build.tagged && `the commit has no tag v${version}, which package.json asks for: git tag v${version}`,
    changelogSection(changelog, version) === undefined && `CHANGELOG.md has no section "## ${version}"`,
  ].filter((objection) => objection !== false);
}

await main(async () => {
  const build = describeBuild();
  const found = objections(build, readFileSync(join(root, "CHANGELOG.md"), "utf8"));
  if (found.length > 0) throw new StepFailed(found.map((objection) => `not released: ${objection}`).join("\n"));
  const files = await dist({ build, fresh: true });
  const tests = await tool("vitest", ["run", "--project", "release"]);
  if (tests !== 0) throw new StepFailed("not released: the tests of the release failed");
  const { stdout } = spawnSync("sha256sum", ["-c", "SHA256SUMS"], { cwd: released, encoding: "utf8" });
  const good = stdout.split("\n").filter((line) => line.endsWith(": OK")).length;
  if (good !== files.length - 1) throw new StepFailed(`not released: the sums are not those of the files\n${stdout}`);
  console.log(
    `\nflannel ${build.version}, commit ${build.commit}, for ${ARCHITECTURES.map(({ name }) => name).join(" and ")}`,
  );
  for (const file of files) console.log(`  ${size(file).padStart(8)}  ${basename(file)}`);
  console.log(`all of it is in ${released}; nothing has been published`);
  return 0;
});
