import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { playScenario } from "./fixtures/scenario.ts";

const FOLDER = new URL("fixtures/", import.meta.url);

/** `UPDATE_SCENARIOS=1` writes what flannel does into the files: read the difference before it is committed. */
const isUpdating = process.env["UPDATE_SCENARIOS"] === "1";

test.each(readdirSync(FOLDER).filter((name) => name.endsWith(".txt")))("%s plays as it is written", async (name) => {
  const file = new URL(name, FOLDER);
  const written = readFileSync(file, "utf8");
  const played = await playScenario(written);
  if (isUpdating) writeFileSync(file, played);
  expect(played).toBe(isUpdating ? played : written);
});
