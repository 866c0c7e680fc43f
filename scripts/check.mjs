// The gate: types, lint, format, the import rule and the unit tests, each told in one line. The same as CI's first stage.
import { fileURLToPath } from "node:url";
import { prepare } from "./prepare.mjs";
import { main, projectNode, run, tool } from "./steps.mjs";

const GATES = {
  types: () => tool("tsc", ["-p", "."]),
  lint: () => tool("oxlint", ["--type-aware", "--quiet"]),
  "format and order of imports": () => tool("biome", ["check", "--reporter=summary"]),
  "import rule": () => run(projectNode(), ["scripts/check-imports.ts"]),
};

/** Runs every gate, also after one has failed. @returns the names of those that failed */
export async function gates() {
  const failed = [];
  for (const [name, gate] of Object.entries(GATES)) {
    const start = performance.now();
    const code = await gate();
    console.log(`${code === 0 ? "ok    " : "FAILED"} ${name} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
    if (code !== 0) failed.push(name);
  }
  return failed;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    await prepare("build");
    const failed = await gates();
    const units = await tool("vitest", ["run", "--project", "unit", "--reporter=default"]);
    console.log(
      failed.length === 0 && units === 0
        ? "check passed"
        : `check failed: ${[...failed, ...(units === 0 ? [] : ["unit tests"])].join(", ")}`,
    );
    return failed.length === 0 && units === 0 ? 0 : 1;
  });
}
