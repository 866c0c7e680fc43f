import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, fstatSync, openSync } from "node:fs";
import { expect, onTestFinished, test } from "vitest";
import { Pidfd } from "../../src/kernel/pidfd.ts";
import { type ProcessId, processId } from "../../src/kernel/process-id.ts";

const { signal } = new AbortController();

/** A process that does nothing, and has this as its descriptor 3. */
async function sleeper(): Promise<{ readonly child: ChildProcess; readonly id: ProcessId; readonly file: number }> {
  const file = openSync(import.meta.filename, "r");
  onTestFinished(() => closeSync(file));
  const child = spawn("sleep", ["1000"], { stdio: ["ignore", "ignore", "ignore", file] });
  onTestFinished(() => void child.kill("SIGKILL"));
  await once(child, "spawn");
  const id = processId(child.pid ?? 0);
  if (id === undefined) throw new Error("it has ended");
  return { child, id, file };
}

test("Pidfd.descriptor() is one of the other's descriptors as one of ours", async () => {
  const { id, file } = await sleeper();
  using other = Pidfd.open(id);
  expect(other?.isOurs).toBe(true);
  const fd = other?.descriptor(3) ?? -1;
  expect(fstatSync(fd).ino).toBe(fstatSync(file).ino);
  closeSync(fd);
  expect(() => other?.descriptor(9)).toThrow("pidfd_getfd: EBADF");
});

test("Pidfd.open() opens no process that has the pid of another one by now, and none that never was", async () => {
  const { id } = await sleeper();
  for (const other of [
    { ...id, startTime: "1" },
    { pid: 0x7fff_fff0, startTime: "1" },
    { pid: -1, startTime: "1" },
  ])
    expect(Pidfd.open(other)).toBeUndefined();
});

test("Pidfd.ended() resolves when it has ended, and kill() ends it", async () => {
  const { id, child } = await sleeper();
  using other = Pidfd.open(id);
  const exit = once(child, "exit");
  let hasEnded = false;
  const ended = other?.ended({ signal }).then(() => (hasEnded = true));
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(hasEnded).toBe(false);
  other?.kill();
  await ended;
  await other?.ended({ signal });
  other?.kill(); // again: nothing
  expect(await exit).toEqual([null, "SIGKILL"]);
});

test("Pidfd.ended() rejects with the signal's reason", async () => {
  const { id } = await sleeper();
  using other = Pidfd.open(id);
  const controller = new AbortController();
  const ended = other?.ended(controller);
  controller.abort(new Error("enough"));
  await expect(ended).rejects.toThrow("enough");
  await expect(other?.ended(controller)).rejects.toThrow("enough");
});
