// The fake API server as a program, for other programs and network namespaces; test/kube/fake-api-process.ts starts it.
//
//     node test/kube/fake-api-server-program.ts '{"host":"192.168.77.254","port":6443}'
//
// The argument is FakeApiServerOptions. When it listens it writes one line, {"url":…,"adminToken":…}, and then serves until its
// standard input ends or it is killed. What a test does by methods of FakeApiServer, it does here by lines of JSON on the standard
// input, each a list: ["addNode","a",["10.5.1.0/24"]], ["faults.add",{"fault":{"kind":"reset"}}], ["calls"]. Each is answered by a
// line: {"result":…} or {"error":…}.
import { createInterface } from "node:readline";
import { FakeApiServer, type FakeApiServerOptions } from "./fake-api-server.ts";

const options = JSON.parse(process.argv[2] ?? "{}") as FakeApiServerOptions;
const server = await FakeApiServer.start(options);
const answer = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`);

/** What `faults.add` names, called. */
async function perform([path, ...args]: readonly [string, ...unknown[]]): Promise<unknown> {
  const names = path.split(".");
  const last = names.pop() ?? "";
  let owner: unknown = server;
  for (const name of names) owner = (owner as Record<string, unknown>)[name];
  const member = (owner as Record<string, unknown>)[last];
  if (typeof member !== "function") return member;
  return await (Reflect.apply(member, owner, args) as unknown);
}

createInterface({ input: process.stdin })
  .on("line", (line) => {
    perform(JSON.parse(line) as [string]).then(
      (result) => answer({ result }),
      (error: unknown) => answer({ error: String(error) }),
    );
  })
  .on("close", () => process.exit(0));
answer({ url: server.url, adminToken: server.adminToken });
