// The fake API server as a program, for tests in other processes and network namespaces.
//
//     node test/kube/fake-api-server-program.ts '{"host":"192.168.77.254","port":6443}'
//
// The argument is FakeApiServerOptions. When it listens it writes one line, {"url":…,"adminToken":…}, and then serves until its
// standard input ends or it is killed. What a test would do by methods, the admin does by POST to paths below /fake/:
// calls, clear-calls, faults, clear-faults, compact, drop-connections, service-account, expire-token.
import { FakeApiServer, type FakeApiServerOptions } from "./fake-api-server.ts";

const options = JSON.parse(process.argv[2] ?? "{}") as FakeApiServerOptions;
const server = await FakeApiServer.start(options);
process.stdout.write(`${JSON.stringify({ url: server.url, adminToken: server.adminToken })}\n`);
process.stdin.resume();
process.stdin.once("end", () => process.exit(0));
