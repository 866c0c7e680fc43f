// From a clone to pods that ping each other: installs, builds, and runs `flannel lab demo`.
import { join } from "node:path";
import { prepare } from "./prepare.mjs";
import { main, root, run } from "./steps.mjs";

await main(async () => {
  await prepare("demo");
  const code = await run(join(root, "bin/flannel"), ["lab", "demo", ...process.argv.slice(2)]);
  return typeof code === "number" ? code : 1;
});
