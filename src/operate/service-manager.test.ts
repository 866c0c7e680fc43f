import { expect, test } from "vitest";
import { RecordingLogger } from "../lib/recording-logger.ts";
import { ServiceManager } from "./service-manager.ts";

function managed(socket: string | undefined = "/run/systemd/notify") {
  const told: string[] = [];
  const logger = new RecordingLogger();
  const manager = new ServiceManager({
    socket,
    send: (path, bytes) => told.push(`${path} ${new TextDecoder().decode(bytes)}`),
    logger,
  });
  return { manager, told: () => told.splice(0), logger };
}

test("ServiceManager tells nobody anything where there is none", () => {
  for (const socket of [undefined, ""]) {
    const { manager, told } = managed(socket ?? "");
    manager.ready();
    manager.status("Up.");
    manager.alive();
    manager.stopping();
    expect(told()).toEqual([]);
    expect(manager.isThere).toBe(false);
  }
});

test("ServiceManager.ready() may be told again, as after each new lease", () => {
  const { manager, told } = managed("@abstract");
  manager.ready();
  manager.ready();
  expect(told()).toEqual(["@abstract READY=1", "@abstract READY=1"]);
});

test("ServiceManager.status() is one line, of bounded length, and told only when it changes", () => {
  const { manager, told } = managed();
  manager.status("Waiting:\nREADY=1\n  EACCES");
  manager.status("Waiting: READY=1 EACCES");
  manager.status("x".repeat(2_000));
  const [first, second, ...others] = told();
  expect(first).toBe("/run/systemd/notify STATUS=Waiting: READY=1 EACCES");
  expect(second).toHaveLength("/run/systemd/notify STATUS=".length + 1_000);
  expect(others).toEqual([]);
});

test("ServiceManager.stopping() is told once, and no status after it", () => {
  const { manager, told } = managed();
  manager.status("Up.");
  told();
  manager.stopping();
  manager.stopping();
  manager.status("Up, still.");
  expect(told()).toEqual(["/run/systemd/notify STOPPING=1\nSTATUS=Stopping."]);
});

test("ServiceManager says once that it cannot be told, and throws nothing", () => {
  const logger = new RecordingLogger();
  const send = () => {
    throw new Error("sendto: ECONNREFUSED");
  };
  const manager = new ServiceManager({ socket: "/nobody", send, logger });
  manager.ready();
  manager.alive();
  manager.stopping();
  expect(logger.lines).toEqual([
    {
      level: "warn",
      message: "cannot tell the service manager how we are",
      fields: { reason: "sendto: ECONNREFUSED" },
    },
  ]);
});

test("ServiceManager tells a manager that was too busy again, READY=1 first, and does not complain", () => {
  const logger = new RecordingLogger();
  const told: string[] = [];
  let isBusy = true;
  const send = (_: string, bytes: Uint8Array) => {
    if (isBusy) throw Object.assign(new Error("sendto: EAGAIN"), { code: "EAGAIN" });
    told.push(new TextDecoder().decode(bytes));
  };
  const manager = new ServiceManager({ socket: "/busy", send, logger });
  manager.status("Starting.");
  manager.ready();
  isBusy = false;
  manager.status("Starting.");
  manager.status("Starting.");
  expect(told).toEqual(["READY=1", "STATUS=Starting."]);
  expect(logger.lines).toEqual([]);
});
