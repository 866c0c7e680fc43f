import { expect, test } from "vitest";
import { takeInherited } from "./inherited.ts";

/** A process 42 that was passed so many. */
function passed(count: number, env: Record<string, string | undefined>) {
  return takeInherited(env, 42, (fd) => fd < 3 + count);
}

test("takeInherited() gives what the service manager passed, with names", () => {
  expect(passed(2, { LISTEN_PID: "42", LISTEN_FDS: "2", LISTEN_FDNAMES: "web:handover.udp" })).toEqual({
    descriptors: [
      { fd: 3, name: "web" },
      { fd: 4, name: "handover.udp" },
    ],
    complaints: [],
  });
});

test.each([
  [undefined, ["unknown", "unknown"]],
  ["", ["unknown", "unknown"]],
  ["a", ["a", "unknown"]],
  [":b", ["unknown", "b"]],
  ["a:b:c", ["a", "b"]],
])("takeInherited() calls those unknown that have no name in LISTEN_FDNAMES=%j", (LISTEN_FDNAMES, names) => {
  const { descriptors } = passed(2, { LISTEN_PID: "42", LISTEN_FDS: "2", LISTEN_FDNAMES });
  expect(descriptors.map(({ name }) => name)).toEqual(names);
});

test.each([
  [{}],
  [{ LISTEN_FDS: "1" }],
  [{ LISTEN_PID: "42" }],
  [{ LISTEN_PID: "43", LISTEN_FDS: "1" }],
  [{ LISTEN_PID: "042", LISTEN_FDS: "1" }],
  [{ LISTEN_PID: "", LISTEN_FDS: "1" }],
  [{ LISTEN_PID: "42", LISTEN_FDS: "0" }],
])("takeInherited() gives nothing and does not complain for %j", (env) => {
  expect(passed(9, { ...env })).toEqual({ descriptors: [], complaints: [] });
});

test.each(["x", "", "-1", "1e3", "0x1", " 1", "1025", "99999999999999999999", "1\n"])(
  "takeInherited() complains about LISTEN_FDS=%j and gives nothing",
  (LISTEN_FDS) => {
    expect(passed(9, { LISTEN_PID: "42", LISTEN_FDS })).toEqual({
      descriptors: [],
      complaints: [`LISTEN_FDS is ${JSON.stringify(LISTEN_FDS)}, but must be 0 to 1024`],
    });
  },
);

test("takeInherited() gives only those that are there, and complains about the others", () => {
  expect(passed(1, { LISTEN_PID: "42", LISTEN_FDS: "3", LISTEN_FDNAMES: "a:b:c" })).toEqual({
    descriptors: [{ fd: 3, name: "a" }],
    complaints: ["LISTEN_FDS is 3, but 2 of these are no sockets"],
  });
});

test.each([[{}], [{ LISTEN_PID: "7" }]])(
  "takeInherited() leaves nothing in the environment for children, %j",
  (more) => {
    const env = { PATH: "/bin", LISTEN_PID: "42", LISTEN_FDS: "1", LISTEN_FDNAMES: "a", LISTEN_PIDFDID: "1", ...more };
    passed(1, env);
    expect(env).toEqual({ PATH: "/bin" });
  },
);
