import { describe, expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { parsePrefix } from "../ip/prefix.ts";
import { openLogger } from "./log.ts";

/** A logger and the lines it has written. */
async function logger(format: "text" | "json", verbosity = 0) {
  const lines: string[] = [];
  const log = await openLogger({ format, verbosity }, "flanneld", (line) => void lines.push(line));
  return { log, lines };
}

/** What stands behind the prefix of the only text line. */
async function text(fields: Readonly<Record<string, unknown>>) {
  const { log, lines } = await logger("text");
  log.info("done", fields);
  return lines.join("").replace(/^.*?\] /, "");
}

async function json(fields: Readonly<Record<string, unknown>>) {
  const { log, lines } = await logger("json");
  log.info("done", fields);
  return JSON.parse(lines.join("")) as Record<string, unknown>;
}

const CYCLE: Record<string, unknown> = {};
CYCLE["self"] = CYCLE;

describe("openLogger() for people", () => {
  test("openLogger() writes lines as glog does, the component in the place of the file", async () => {
    const { log, lines } = await logger("text");
    log.info("lease acquired", { subnet: parsePrefix("10.5.34.0/24"), attempt: 2 });
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(
      /^I\d{4} \d\d:\d\d:\d\d\.\d{6} [ \d]{6}\d flanneld\] lease acquired subnet=10\.5\.34\.0\/24 attempt=2\n$/,
    );
    expect(lines[0]).toContain(` ${process.pid} flanneld]`);
  });

  test("openLogger() begins with the severity", async () => {
    const { log, lines } = await logger("text", 1);
    log.error("a");
    log.warn("b");
    log.info("c");
    log.debug("d");
    expect(lines.map((line) => line[0]).join("")).toBe("EWII");
  });

  test.each(["text", "json"] as const)("openLogger() says nothing of debug in %s unless asked", async (format) => {
    const quiet = await logger(format, 0);
    quiet.log.debug("row");
    quiet.log.child({ a: 1 }).debug("row");
    expect(quiet.lines).toEqual([]);
    const verbose = await logger(format, 1);
    verbose.log.debug("row");
    expect(verbose.lines).toHaveLength(1);
  });

  test("openLogger() quotes what is not one word", async () => {
    expect(
      await text({ a: "two words", b: 'say "x"', c: "", d: "k=v", e: "line\nbreak", f: "naïve", g: "\u001b[31m" }),
    ).toBe('done a="two words" b="say \\"x\\"" c="" d="k=v" e="line\\nbreak" f=naïve g="\\u001b[31m"\n');
  });

  test("openLogger() writes addresses, networks, dates, numbers and lists as people do", async () => {
    expect(
      await text({
        address: parseAddress("fd00::1"),
        subnets: [parsePrefix("10.5.1.0/24"), parsePrefix("10.5.2.0/24")],
        at: new Date(0),
        big: 12n,
        nan: Number.NaN,
        yes: true,
        nothing: null,
        absent: undefined,
      }),
    ).toBe(
      'done address=fd00::1 subnets=["10.5.1.0/24","10.5.2.0/24"] at=1970-01-01T00:00:00.000Z big=12 nan=NaN yes=true nothing=null\n',
    );
  });

  test("openLogger() describes an error with its causes", async () => {
    expect(await text({ error: new Error("store away", { cause: new Error("ECONNREFUSED") }) })).toBe(
      'done error="store away: ECONNREFUSED"\n',
    );
  });

  test("openLogger() puts a stack on lines of its own", async () => {
    expect(await text({ stack: "Error: x\n    at y", a: 1 })).toBe("done a=1\nError: x\n    at y\n");
  });

  test("openLogger() survives a value without end", async () => {
    expect(await text({ CYCLE })).toMatch(/^done CYCLE=/);
    expect(await json({ CYCLE })).toHaveProperty("CYCLE");
  });

  test("child() adds its fields to every line, and a component replaces the name", async () => {
    const { log, lines } = await logger("text");
    const child = log.child({ component: "vxlan", network: "blue" }).child({ peer: 1 });
    child.warn("slow", { ms: 5 });
    expect(lines[0]).toMatch(/ vxlan\] slow network=blue peer=1 ms=5\n$/);
  });
});

describe("openLogger() for programs", () => {
  test("openLogger() writes one JSON object a line", async () => {
    const { log, lines } = await logger("json");
    log
      .child({ component: "vxlan" })
      .warn("slow", { subnet: parsePrefix("10.5.34.0/24"), n: 3, e: new Error("x"), u: undefined });
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^\{.*\}\n$/);
    const line = JSON.parse(lines[0] ?? "") as Record<string, unknown>;
    expect(line).toEqual({
      level: "warn",
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as string,
      pid: process.pid,
      component: "vxlan",
      subnet: "10.5.34.0/24",
      n: 3,
      e: "x",
      msg: "slow",
    });
  });

  test("openLogger() keeps big numbers and lists in JSON", async () => {
    expect(await json({ big: 2n ** 70n, list: [1n, undefined, parseAddress("10.0.0.1")] })).toMatchObject({
      big: "1180591620717411303424",
      list: ["1", null, "10.0.0.1"],
    });
  });
});
