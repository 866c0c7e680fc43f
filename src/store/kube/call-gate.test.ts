import { expect, test } from "vitest";
import { FakeClock } from "../../lib/fake-clock.ts";
import { CallGate } from "./call-gate.ts";

const { signal } = new AbortController();

/** When the next call may be made, in milliseconds from now. */
async function wait(gate: CallGate, clock: FakeClock): Promise<number> {
  const start = clock.now();
  const passing = gate.pass({ signal }).then(() => clock.now() - start);
  await clock.advance(1_000_000);
  return await passing;
}

test("CallGate lets calls through at once until one fails, then each later than the one before, up to ten seconds", async () => {
  const clock = new FakeClock();
  const gate = new CallGate(clock, () => 0);
  expect(await wait(gate, clock)).toBe(0);
  const waits: number[] = [];
  for (let failure = 0; failure < 8; failure++) {
    gate.failed();
    waits.push(await wait(gate, clock));
  }
  expect(waits).toEqual([200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
  gate.succeeded();
  expect(await wait(gate, clock)).toBe(0);
});

test("CallGate waits as long as the server asks and up to half as long again, but a minute and a half at most", async () => {
  const clock = new FakeClock();
  for (const [random, asked, expected] of [
    [0, 5_000, 5_000],
    [1, 5_000, 7_500],
    [1, 3_600_000, 90_000],
  ] as const) {
    const gate = new CallGate(clock, () => random);
    gate.failed(asked);
    expect(await wait(gate, clock)).toBe(expected);
  }
});

test("CallGate spreads hosts that fail together over a fifth of the time", async () => {
  const clock = new FakeClock();
  const gates = [0, 1].map((random) => new CallGate(clock, () => random));
  for (const gate of gates) for (let failure = 0; failure < 10; failure++) gate.failed();
  const [first, second] = await Promise.all(
    gates
      .map((gate) => gate.pass({ signal }).then(() => clock.now()))
      .concat(
        (async () => {
          await clock.advance(20_000);
          return 0;
        })(),
      ),
  );
  expect((first ?? 0) - (second ?? 0)).toBe(2_000);
});
