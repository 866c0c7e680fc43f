import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { isAlive, processId } from "../kernel/process-id.ts";
import { processesInNamespaces, signalProcess } from "./processes.ts";

test("signalProcess() leaves a process alone that was given the pid later", async () => {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1e9)"], { stdio: "ignore" });
  try {
    await once(child, "spawn");
    const id = running(child.pid);
    signalProcess({ ...id, startTime: "1" }, "SIGKILL");
    expect(isAlive(id)).toBe(true);
    signalProcess(id, "SIGKILL");
    await once(child, "exit");
    expect(isAlive(id)).toBe(false);
  } finally {
    child.kill("SIGKILL");
  }
});

test("processesInNamespaces() never finds the machine's own processes", () => {
  expect(processesInNamespaces(["/proc/self/ns/net", "/run/netns/is-not-there"])).toEqual([]);
});

function running(pid: number | undefined) {
  const id = processId(pid ?? 0);
  if (id === undefined) throw new Error(`no process ${pid}`);
  return id;
}
