// npm test: installs what is missing, then the gate and every test. The last line is `N passed, N failed`.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { gates } from "./check.mjs";
import { prepare } from "./prepare.mjs";
import { main, tool } from "./steps.mjs";

const PROJECTS = ["unit", "patient", "system"];
/** Of one failure, in the list at the end. */
const FAILURE_LINES = 12;

/** What failed, by file and name with its first lines: the end of a log is all that some who read it see. */
function failuresOf(testResults) {
  return testResults.flatMap(({ name, status, message, assertionResults }) => {
    const file = relative(process.cwd(), name);
    const failedTests = assertionResults.filter((test) => test.status !== "passed");
    if (failedTests.length === 0 && status === "failed")
      return [`${file}: ${firstLines(message || "outside its tests")}`];
    return failedTests.map((test) => `${file} > ${test.fullName}: ${firstLines(test.failureMessages?.join("\n"))}`);
  });
}

function firstLines(text) {
  const lines = stripVTControlCharacters(text || "never ran").split("\n");
  const ours = lines.filter((line) => !line.includes("/node_modules/"));
  return ours.slice(0, FAILURE_LINES).join("\n    ");
}

/** How many tests of one vitest project passed, and what did not; a file that could not even be read counts as one. */
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
    const { numPassedTests, testResults } = JSON.parse(readFileSync(report, "utf8"));
    const failures = failuresOf(testResults);
    if (failures.length === 0 && code !== 0) failures.push(`the ${project} tests ended with ${code}`);
    return { passed: numPassedTests, failures };
  } catch (error) {
    return { passed: 0, failures: [`no report of the ${project} tests: ${error.message}`] };
  }
}

await main(async () => {
  const start = performance.now();
  await prepare("test");
  const failures = (await gates()).map((gate) => `the gate: ${gate}`);
  const directory = mkdtempSync(join(tmpdir(), "flannel-test-"));
  let passed = 0;
  try {
    for (const project of PROJECTS) {
      const result = await runProject(project, directory);
      passed += result.passed;
      failures.push(...result.failures);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  for (const failure of failures) console.log(`failed: ${failure}`);
  console.log(`all of it took ${Math.round((performance.now() - start) / 1000)} s`);
  console.log(`${passed} passed, ${failures.length} failed`);
  return failures.length === 0 && passed > 0 ? 0 : 1;
});
