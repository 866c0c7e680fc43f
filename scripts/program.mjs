// Runs one of the project's own TypeScript programs, say bench/main.ts, on the project's Node, with everything installed.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { prepare } from "./prepare.mjs";
import { main, projectNode, root, run } from "./steps.mjs";

await main(async () => {
  const [source = "", ...args] = process.argv.slice(2);
  if (!existsSync(join(root, source))) {
    console.error(`${source} is not written yet`);
    return 1;
  }
  await prepare("test");
  const code = await run(projectNode(), [source, ...args]);
  return typeof code === "number" ? code : 1;
});
