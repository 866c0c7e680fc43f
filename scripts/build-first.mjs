// System tests run the programs as a user does: from dist, which must be what the sources say.
import { build, isBuilt } from "./build.mjs";

export async function setup() {
  if (!isBuilt()) await build();
}
