// The licences of everything that a release contains.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../steps.mjs";

const LICENCE = /^(licen[cs]e|copying|notice)/i;

/** The licence files of an npm package, as one text; where it has none, what its package.json says. */
function npmLicence(name) {
  const directory = join(root, "node_modules", name);
  const texts = readdirSync(directory)
    .filter((file) => LICENCE.test(file))
    .toSorted()
    .map((file) => readFileSync(join(directory, file), "utf8"));
  if (texts.length > 0) return texts.join("\n");
  const { license, author, repository } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
  if (license === undefined) throw new Error(`${name} says nothing of its licence`);
  const by = typeof author === "string" ? author : author?.name;
  return `${name}: ${license}${by === undefined ? "" : `, by ${by}`}\n${repository?.url ?? repository ?? ""}\n`;
}

/**
 * Pairs of a file name and a text.
 * @param packages names of npm packages
 * @param debian a directory of debianParts()
 */
export function licences(packages, debian) {
  const node = join(root, "node_modules", `node-linux-${process.arch}`, "LICENSE");
  return [
    ["node.txt", readFileSync(node)],
    ["libatomic.txt", readFileSync(join(debian, "usr/share/doc/gcc-12-base/copyright"))],
    ...packages.map((name) => [`npm/${name.replaceAll("/", "_")}.txt`, npmLicence(name)]),
  ];
}

/** Of each of Debian's packages, pairs as above. */
export function debianLicences(debian, names) {
  return names.flatMap((name) => {
    const file = join(debian, "usr/share/doc", name, "copyright");
    return existsSync(file) ? [[`debian/${name}.txt`, readFileSync(file)]] : [];
  });
}
