import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { sendDatagram } from "../../src/kernel/datagram.ts";
import { PYTHON } from "../support/python.ts";

// Needs python3: Node has no datagram sockets of Unix.

/** A listener on `address`, Python's notation; tells what it got first. */
async function listen(address: string): Promise<() => Promise<string>> {
  const program = `import socket,sys
s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); s.bind(${address}); print("ready",flush=True)
sys.stdout.write(s.recv(9999).decode())`;
  const python = spawn(PYTHON, ["-c", program], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void python.kill());
  let text = "";
  python.stdout.setEncoding("utf8").on("data", (more: string) => (text += more));
  const closed = once(python, "close");
  await once(python.stdout, "data");
  return async () => {
    await closed;
    return text.replace("ready\n", "");
  };
}

test("sendDatagram() sends one datagram to a path and to an abstract address", async () => {
  const directory = mkdtempSync(join(tmpdir(), "flannel-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "notify");
  const atPath = await listen(JSON.stringify(path));
  sendDatagram(path, Buffer.from("READY=1\nMAINPID=1"));
  expect(await atPath()).toBe("READY=1\nMAINPID=1");
  const name = `flannel-test-${process.pid}`;
  const atName = await listen(`"\\0${name}"`);
  sendDatagram(`@${name}`, Buffer.from("READY=1"));
  expect(await atName()).toBe("READY=1");
});

test("sendDatagram() fails where nobody listens, and for what is no address", () => {
  expect(() => sendDatagram("/nonexistent/notify", Buffer.from("READY=1"))).toThrow("sendto: ENOENT");
  expect(() => sendDatagram("@nobody-listens-here", Buffer.from("READY=1"))).toThrow("sendto: ECONNREFUSED");
  expect(() => sendDatagram("x".repeat(109), Buffer.from("READY=1"))).toThrow(RangeError);
});
