// Checks the import rule of src/; the table is in rooms.ts.
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { brokenImports } from "./import-rule.ts";

const src = fileURLToPath(new URL("../src/", import.meta.url));
const files = readdirSync(src, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts") && !file.endsWith(".d.ts"))
  .toSorted();
const broken = brokenImports(new Map(files.map((file) => [file, readFileSync(src + file, "utf8")])));
for (const line of broken) console.error(line);
process.exitCode = broken.length === 0 && files.length > 0 ? 0 : 1;
