// npm test: installs what is missing, then the gate and every test. The last line is `N passed, N failed`.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gates } from "./check.mjs";
import { prepare } from "./prepare.mjs";
import { main, tool } from "./steps.mjs";

const PROJECTS = ["unit", "patient", "system"];

/** Passed and failed tests of one vitest project; a file that could not even be read counts as a failure. */
async function runProject(project, directory) {
  const report = join(directory, `${project}.json`);
  const code = await tool("vitest", [
    "run",
    "--project",
    project,
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${report}`,
    ...process.argv.slice(2),
  ]);
  try {
    const { numPassedTests, numFailedTests, numTotalTests, testResults } = JSON.parse(readFileSync(report, "utf8"));
    const brokenFiles = testResults.filter(
      (file) => file.status === "failed" && file.assertionResults.length === 0,
    ).length;
    const neverRan = numTotalTests - numPassedTests - numFailedTests;
    const failed = numFailedTests + neverRan + brokenFiles;
    return { passed: numPassedTests, failed: failed === 0 && code !== 0 ? 1 : failed };
  } catch (error) {
    console.error(`no report of the ${project} tests: ${error.message}`);
    return { passed: 0, failed: 1 };
  }
}

await main(async () => {
  const start = performance.now();
  await prepare("test");
  const failedGates = await gates();
  const directory = mkdtempSync(join(tmpdir(), "flannel-test-"));
  let passed = 0;
  let failed = failedGates.length;
  try {
    for (const project of PROJECTS) {
      const result = await runProject(project, directory);
      passed += result.passed;
      failed += result.failed;
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  if (failedGates.length > 0) console.log(`failed before the tests: ${failedGates.join(", ")}`);
  console.log(`all of it took ${Math.round((performance.now() - start) / 1000)} s`);
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0 ? 0 : 1;
});
