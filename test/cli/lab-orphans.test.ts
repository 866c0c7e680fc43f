/** By itself, since whoever else makes a lab meanwhile removes those whose owner died. */
import { afterEach, expect, test } from "vitest";
import { isAlive } from "../../src/kernel/process-id.ts";
import { parseLabName } from "../../src/lab/address-plan.ts";
import { dismantle } from "../../src/lab/dismantle.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import {
  exitOf,
  expectNothingLeftOf,
  fakeHosts,
  lab,
  PATIENCE,
  processesOfLab,
  startLab,
} from "../support/lab-command.ts";

const { signal } = new AbortController();
const name = parseLabName("torphan");

afterEach(() => dismantle(name, { signal }));

/** A lab whose `flannel lab` was killed while its daemons were starting. */
async function orphan(command: "up" | "demo") {
  const { child, said } = startLab(command, ...fakeHosts(name), "--flag=--never-ready");
  await waitUntil(() => said.text.includes("starting flanneld") && processesOfLab(name).length >= 3, {
    signal,
    within: PATIENCE,
    what: "daemons run",
  });
  const processes = processesOfLab(name);
  child.kill("SIGKILL");
  await exitOf(child);
  expect(processes.every(isAlive)).toBe(true);
  expect(lab("ls").stdout).toContain("its owner died");
  return processes;
}

test("lab up that was killed in the middle is reclaimed by lab down, of whichever lab", async () => {
  const processes = await orphan("up");
  expect(lab("down", "nosuchlab").stdout).toContain("removed lab torphan, whose owner had died");
  expect(processes.filter(isAlive)).toEqual([]);
  expectNothingLeftOf(name);
});

test("lab demo that was killed in the middle is reclaimed by lab up, which may take its name", async () => {
  const processes = await orphan("demo");
  expect(lab("up", ...fakeHosts(name)).status).toBe(0);
  expect(processes.filter(isAlive)).toEqual([]);
});
