import { expect, onTestFinished, test } from "vitest";
import { FakeClock } from "../lib/fake-clock.ts";
import { silentLogger } from "../lib/logger.ts";
import { ServiceManager } from "./service-manager.ts";
import { StatusLine } from "./status-line.ts";

function lined(socket = "/notify") {
  const clock = new FakeClock();
  const told: string[] = [];
  const send = (_: string, bytes: Uint8Array) => told.push(new TextDecoder().decode(bytes));
  const manager = new ServiceManager({ socket, send, logger: silentLogger });
  const line = new StatusLine({ manager, clock });
  line.set(() => "Starting.");
  const stop = new AbortController();
  const running = line.run(stop).catch(() => {});
  onTestFinished(async () => {
    stop.abort();
    await running;
  });
  return { clock, line, told: () => told.splice(0) };
}

test("StatusLine tells what is so at first, and then each change", async () => {
  const { clock, line, told } = lined();
  await clock.advance(1_000);
  line.set(() => "Waiting for a subnet.");
  await clock.advance(0);
  expect(told()).toEqual(["STATUS=Starting.", "STATUS=Waiting for a subnet."]);
});

test("StatusLine tells a burst of changes as one, by its end", async () => {
  const { clock, line, told } = lined();
  let peers = 0;
  line.set(() => `${peers} peers`);
  await clock.advance(1_000);
  told();
  for (; peers < 1_000; peers++) line.changed();
  await clock.advance(0);
  peers = 2_000;
  line.changed();
  await clock.advance(499);
  expect(told()).toEqual(["STATUS=1000 peers"]);
  await clock.advance(1);
  expect(told()).toEqual(["STATUS=2000 peers"]);
});

test("StatusLine finds out within 16 s what nobody told it", async () => {
  const { clock, line, told } = lined();
  let problems = 0;
  line.set(() => `${problems} problems`);
  await clock.advance(1_000);
  told();
  problems = 1;
  await clock.advance(16_000);
  expect(told()).toEqual(["STATUS=1 problems"]);
  expect(clock.sleeping).toBe(1);
});

test("StatusLine.tell() does not wait", async () => {
  const { clock, line, told } = lined();
  await clock.advance(0);
  line.set(() => "Up.");
  line.tell();
  expect(told()).toEqual(["STATUS=Starting.", "STATUS=Up."]);
});

test("StatusLine does nothing where there is no service manager", async () => {
  const { clock, told } = lined("");
  await clock.advance(60_000);
  expect(told()).toEqual([]);
  expect(clock.sleeping).toBe(0);
});
