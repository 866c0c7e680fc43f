import { expect, test } from "vitest";
import { FakeDescriptorKeeper } from "../kernel/fake-descriptor-keeper.ts";
import { Handover } from "./handover.ts";

const { signal } = new AbortController();
const udp = new Map([["udp", 7]]);
const both = new Map([["tun", 8], ["udp", 9]]); // biome-ignore format: one line

test("Handover has every keeper keep all", async () => {
  const keepers = [new FakeDescriptorKeeper(), new FakeDescriptorKeeper()];
  await using handover = new Handover(keepers);
  await handover.keep(both, { signal });
  expect(keepers.map(({ kept }) => kept)).toEqual([both, both]);
});

test("Handover takes from the first that has it, and asks the next only for what is missing", async () => {
  const [first, second] = [new FakeDescriptorKeeper(), new FakeDescriptorKeeper()];
  await first.keep(udp);
  await second.keep(both);
  await using handover = new Handover([first, second]);
  expect(await handover.take(["udp", "tun"], { signal })).toEqual(new Map([["udp", 7], ["tun", 8]])); // biome-ignore format: one line
});

test("Handover lets go at READY of what no backend has asked for", async () => {
  const keeper = new FakeDescriptorKeeper();
  await keeper.keep(udp);
  await using handover = new Handover([keeper]);
  await handover.ready({ signal });
  expect(keeper.kept).toEqual(new Map());
});

test.each(["take", "keep"] as const)("Handover lets nothing go at READY if the backend did %s()", async (call) => {
  const keeper = new FakeDescriptorKeeper();
  await keeper.keep(udp);
  await using handover = new Handover([keeper]);
  if (call === "take") await handover.take(["udp"], { signal });
  else await handover.keep(udp, { signal });
  await handover.ready({ signal });
  expect(keeper.kept).toEqual(udp);
  await handover.ready({ signal }); // another backend, after a change of the config
  expect(keeper.kept).toEqual(new Map());
});
