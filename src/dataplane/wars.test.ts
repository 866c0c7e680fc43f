import { expect, test } from "vitest";
import { TRUCE, Wars } from "./wars.ts";

test("Wars.undone() calls a truce at the sixth time in a minute, and it news once", () => {
  const wars = new Wars();
  const verdicts = Array.from({ length: 8 }, (_, index) => wars.undone("a", index * 1_000));
  expect(verdicts.map(({ truceUntil }) => truceUntil !== undefined)).toEqual([
    ...Array<boolean>(5).fill(false),
    ...Array<boolean>(3).fill(true),
  ]);
  expect(verdicts[5]).toEqual({ truceUntil: 5_000 + TRUCE, isNews: true });
  expect(verdicts.slice(6).map(({ isNews }) => isNews)).toEqual([false, false]);
});

test("Wars.undone() lets a row be undone five times a minute for ever", () => {
  const wars = new Wars();
  const verdicts = Array.from({ length: 100 }, (_, index) => wars.undone("a", index * 12_000));
  expect(verdicts.every(({ truceUntil }) => truceUntil === undefined)).toBe(true);
});

test("Wars.undone() counts each row for itself", () => {
  const wars = new Wars();
  for (let index = 0; index < 100; index++) expect(wars.undone(`row ${index}`, index).truceUntil).toBeUndefined();
});

test("Wars.forgetPeace() keeps only rows that were undone in the last minute", () => {
  const wars = new Wars();
  for (let index = 0; index < 1_000; index++) wars.undone(`row ${index}`, index < 990 ? 0 : 30_000);
  wars.forgetPeace(60_000);
  expect(wars.size).toBe(10);
});

test("Wars.undone() counts as one war what never ceases for a minute", () => {
  const wars = new Wars();
  const quickly = (from: number) => Array.from({ length: 6 }, (_, index) => from + index * 1_000);
  const slowly = Array.from({ length: 10 }, (_, index) => 20_000 + index * 20_000);
  const news = [...quickly(0), ...slowly, ...quickly(210_000)].filter((time) => wars.undone("a", time).isNews);
  expect(news).toEqual([5_000]);
});
