import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { flagsFromEnvironment, formatFlags, parseGoFlags } from "./go-flags.ts";

const FLAGS = {
  masq: { kind: "bool", default: false, help: "masquerade" },
  on: { kind: "bool", default: true, help: "on unless told" },
  margin: { kind: "int", value: "MINUTES", default: 60, help: "margin" },
  "etcd-prefix": { kind: "string", value: "KEY", default: "/coreos.com/network", help: "prefix" },
} as const;

const WITH_LIST = { iface: { kind: "list", value: "NAME", default: [], help: "interface" } } as const;

function parse(...argv: readonly string[]) {
  return parseGoFlags(FLAGS, argv);
}

function values(...argv: readonly string[]) {
  const parsed = parse(...argv);
  if (parsed.kind !== "parsed") throw new Error(JSON.stringify(parsed));
  return parsed.values;
}

function message(...argv: readonly string[]) {
  const parsed = parse(...argv);
  return parsed.kind === "error" ? parsed.message : parsed.kind;
}

describe("parseGoFlags()", () => {
  test("parseGoFlags() leaves defaults where nothing is given", () => {
    expect(values()).toEqual({ masq: false, on: true, margin: 60, "etcd-prefix": "/coreos.com/network" });
  });

  test("parseGoFlags() takes one dash or two, and the value behind = or as the next argument", () => {
    for (const argv of [["-margin=5"], ["--margin=5"], ["-margin", "5"], ["--margin", "5"]])
      expect(values(...argv)).toMatchObject({ margin: 5 });
  });

  test("parseGoFlags() takes a value that looks like a flag, is empty or holds =", () => {
    expect(values("--etcd-prefix", "--masq")).toMatchObject({ "etcd-prefix": "--masq", masq: false });
    expect(values("--etcd-prefix=")).toMatchObject({ "etcd-prefix": "" });
    expect(values("--etcd-prefix=a=b\nc")).toMatchObject({ "etcd-prefix": "a=b\nc" });
  });

  test("parseGoFlags() collects what a list is given, in order; a variable gives it once", () => {
    expect(parseGoFlags(WITH_LIST, [])).toMatchObject({ values: { iface: [] } });
    const parsed = parseGoFlags(WITH_LIST, ["--iface=b", "-iface", "a"]);
    if (parsed.kind !== "parsed") throw new Error("not parsed");
    expect(parsed.values).toEqual({ iface: ["b", "a"] });
    const env = { FLANNELD_IFACE: "c,d" };
    expect(flagsFromEnvironment(WITH_LIST, parsed, "FLANNELD", env).values).toEqual({ iface: ["b", "a"] });
    const none = { values: { iface: [] }, given: new Set<string>() };
    expect(flagsFromEnvironment(WITH_LIST, none, "FLANNELD", env).values).toEqual({ iface: ["c,d"] });
    expect(formatFlags(WITH_LIST)).toBe("  --iface=NAME\n        interface\n");
  });

  test("parseGoFlags() never takes the next argument for a bool", () => {
    const parsed = parse("--masq", "false");
    expect(parsed).toMatchObject({ values: { masq: true }, positional: ["false"] });
  });

  test.each(["1", "t", "T", "true", "TRUE", "True"])("parseGoFlags() reads the bool %s as true", (text) => {
    expect(values(`--masq=${text}`).masq).toBe(true);
  });

  test.each(["0", "f", "F", "false", "FALSE", "False"])("parseGoFlags() reads the bool %s as false", (text) => {
    expect(values(`--on=${text}`).on).toBe(false);
  });

  test.each(["", "yes", "tRUE", "2", " true"])("parseGoFlags() refuses the bool %j", (text) => {
    expect(message(`--masq=${text}`)).toBe(`invalid boolean value ${JSON.stringify(text)} for -masq: parse error`);
  });

  test.each([
    ["0", 0],
    ["-0", 0],
    ["+7", 7],
    ["-12", -12],
    ["0x1F", 31],
    ["0X1f", 31],
    ["-0x10", -16],
    ["0b101", 5],
    ["0o17", 15],
    ["0O17", 15],
    ["017", 15],
    ["1_000", 1000],
    ["0x_ff", 255],
    ["0_7", 7],
    ["9007199254740991", Number.MAX_SAFE_INTEGER],
  ])("parseGoFlags() reads the int %s as strconv.ParseInt does", (text, number) => {
    expect(values(`--margin=${text}`).margin).toBe(number);
  });

  test.each(["", "abc", "1.5", "1e3", "08", "0x", "0b2", "0o8", "_1", "1_", "1__0", "0x1_", " 1", "1 ", "--1", "٣"])(
    "parseGoFlags() refuses the int %j",
    (text) => {
      expect(message(`--margin=${text}`)).toBe(`invalid value ${JSON.stringify(text)} for flag -margin: parse error`);
    },
  );

  test("parseGoFlags() refuses an int too large to be exact", () => {
    expect(message("--margin=99999999999999999999")).toBe(
      'invalid value "99999999999999999999" for flag -margin: value out of range',
    );
  });

  test("parseGoFlags() lets the last of several win", () => {
    expect(values("--margin=1", "--margin=2", "--masq", "--masq=false")).toMatchObject({ margin: 2, masq: false });
  });

  test("parseGoFlags() stops at the first positional argument, a lone dash, an empty one, or behind --", () => {
    expect(parse("--masq", "x", "--margin=1")).toMatchObject({
      values: { margin: 60 },
      positional: ["x", "--margin=1"],
    });
    expect(parse("-", "--masq")).toMatchObject({ values: { masq: false }, positional: ["-", "--masq"] });
    expect(parse("", "--masq")).toMatchObject({ positional: ["", "--masq"] });
    expect(parse("--masq", "--", "--margin=1")).toMatchObject({ values: { masq: true }, positional: ["--margin=1"] });
  });

  test("parseGoFlags() knows no flag but those given, nor an object's own properties", () => {
    expect(message("--no-such-flag=1")).toBe("flag provided but not defined: -no-such-flag");
    expect(message("-constructor=1")).toBe("flag provided but not defined: -constructor");
    expect(message("--__proto__", "x")).toBe("flag provided but not defined: -__proto__");
    expect(message("--etcdPrefix=x")).toBe("flag provided but not defined: -etcdPrefix");
  });

  test.each(["---masq", "--=1", "-=1", "---"])("parseGoFlags() refuses the syntax of %s", (argument) => {
    expect(message(argument)).toBe(`bad flag syntax: ${argument}`);
  });

  test("parseGoFlags() says which flag lacks its argument", () => {
    expect(message("--masq", "--margin")).toBe("flag needs an argument: -margin");
  });

  test("parseGoFlags() takes -h and --help as the wish for help unless they are flags", () => {
    expect([message("-h"), message("--help"), message("--help=false")]).toEqual(["help", "help", "help"]);
    const flags = { help: { kind: "bool", default: false, help: "" } } as const;
    expect(parseGoFlags(flags, ["--help"])).toMatchObject({ kind: "parsed", values: { help: true } });
  });

  test("parseGoFlags() gives back every string, given in either form", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(values(`-etcd-prefix=${text}`)["etcd-prefix"]).toBe(text);
        expect(values("--etcd-prefix", text)["etcd-prefix"]).toBe(text);
      }),
    );
  });

  test("parseGoFlags() answers every command line without throwing", () => {
    const argument = fc.oneof(
      fc.string(),
      fc.constantFrom("-", "--", "--masq", "-margin", "--margin=", "--etcd-prefix", "-h", "--on=0"),
    );
    fc.assert(fc.property(fc.array(argument), (argv) => ["parsed", "help", "error"].includes(parse(...argv).kind)));
  });
});

describe("flagsFromEnvironment()", () => {
  function fromEnvironment(env: Readonly<Record<string, string>>, ...argv: readonly string[]) {
    const parsed = parse(...argv);
    if (parsed.kind !== "parsed") throw new Error(JSON.stringify(parsed));
    return flagsFromEnvironment(FLAGS, parsed, "FLANNELD", env);
  }

  test("flagsFromEnvironment() names a variable after its flag", () => {
    const env = { FLANNELD_ETCD_PREFIX: "/p", FLANNELD_MARGIN: "0x10", FLANNELD_MASQ: "1", FLANNELD_ON: "F" };
    const { values, given } = fromEnvironment(env);
    expect(values).toEqual({ "etcd-prefix": "/p", margin: 16, masq: true, on: false });
    expect([...given].toSorted()).toEqual(["etcd-prefix", "margin", "masq", "on"]);
  });

  test("flagsFromEnvironment() lets the command line win, also where it says the default", () => {
    expect(fromEnvironment({ FLANNELD_MARGIN: "5" }, "--margin=60").values.margin).toBe(60);
  });

  test("flagsFromEnvironment() ignores empty and unknown variables", () => {
    const { values, bad } = fromEnvironment({
      FLANNELD_ETCD_PREFIX: "",
      FLANNELD_MARGIN: "",
      FLANNELD_NOPE: "1",
      MARGIN: "3",
    });
    expect(values).toMatchObject({ "etcd-prefix": "/coreos.com/network", margin: 60 });
    expect(bad).toEqual([]);
  });

  test("flagsFromEnvironment() keeps the default of what it cannot read and tells so", () => {
    const { values, bad, given } = fromEnvironment({ FLANNELD_MARGIN: "abc", FLANNELD_MASQ: "yes" });
    expect(values).toMatchObject({ margin: 60, masq: false });
    expect(given.size).toBe(0);
    expect(bad).toEqual([
      { variable: "FLANNELD_MASQ", text: "yes", reason: "parse error" },
      { variable: "FLANNELD_MARGIN", text: "abc", reason: "parse error" },
    ]);
  });
});

test("formatFlags() shows each flag with its value's name, its help and a default that says something", () => {
  expect(formatFlags(FLAGS)).toBe(
    [
      "  --etcd-prefix=KEY",
      "        prefix (default /coreos.com/network)",
      "  --margin=MINUTES",
      "        margin (default 60)",
      "  --masq",
      "        masquerade",
      "  --on",
      "        on unless told (default true)",
      "",
    ].join("\n"),
  );
});
