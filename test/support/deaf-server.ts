import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as delay, setImmediate as turn } from "node:timers/promises";

const PROGRAM = `require("node:net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, function () {
  console.log(this.address().port);
})`;
/** No connection within the machine takes as long. */
const IN_VAIN = 500;

/**
 * A port that takes no connection and refuses none, as a machine that is switched off: the program behind it is stopped, and the
 * kernel's queue before it full.
 */
export async function deafServer(): Promise<{ readonly port: number } & Disposable> {
  const child = spawn(process.execPath, ["-e", PROGRAM], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  child.kill("SIGSTOP");
  const port = Number(line.toString());
  const queued: Socket[] = [];
  for (let isTaken = true; isTaken; ) {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => undefined);
    queued.push(socket);
    await Promise.race([once(socket, "connect"), delay(IN_VAIN)]);
    await turn(); // what came while this process had no time is heard of after its timers
    isTaken = !socket.connecting;
  }
  return {
    port,
    [Symbol.dispose]() {
      for (const socket of queued) socket.destroy();
      child.kill("SIGKILL");
    },
  };
}
