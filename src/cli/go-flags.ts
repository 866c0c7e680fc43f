/** One flag of a program whose command line has the syntax of Go's `flag` package. */
export type Flag = BoolFlag | IntFlag | StringFlag | ListFlag;

interface Described {
  /** What it is for, in one line or two; the default is added. */
  readonly help: string;
}

export interface BoolFlag extends Described {
  readonly kind: "bool";
  readonly default: boolean;
}

export interface IntFlag extends Described {
  readonly kind: "int";
  readonly default: number;
  /** Stands for the value in the usage: `MINUTES`. */
  readonly value: string;
}

export interface StringFlag extends Described {
  readonly kind: "string";
  readonly default: string;
  readonly value: string;
}

/** May be given several times, as a `flag.Value` that appends; a variable gives it once. */
export interface ListFlag extends Described {
  readonly kind: "list";
  readonly default: readonly string[];
  readonly value: string;
}

export type Flags = Readonly<Record<string, Flag>>;

/** The value of each flag, by its name. */
export type FlagValues<F extends Flags> = {
  readonly [Name in keyof F]: F[Name]["kind"] extends "bool"
    ? boolean
    : F[Name]["kind"] extends "int"
      ? number
      : F[Name]["kind"] extends "list"
        ? readonly string[]
        : string;
};

export type ParsedFlags<F extends Flags> =
  | {
      readonly kind: "parsed";
      readonly values: FlagValues<F>;
      /** Names of the flags that the command line set, whatever to. */
      readonly given: ReadonlySet<string>;
      readonly positional: readonly string[];
    }
  | { readonly kind: "help" }
  | { readonly kind: "error"; readonly message: string };

type Value = boolean | number | string | readonly string[];
/** Go's `strconv` errors as the `flag` package words them. */
type Converted = { readonly value: Value } | { readonly error: "parse error" | "value out of range" };

/**
 * Reads arguments as Go's `flag.Parse` does: one dash or two, `-x=v` or, unless it is a bool, `-x v`; the last of several
 * wins, but for lists; the first positional argument or `--` ends the flags.
 */
export function parseGoFlags<F extends Flags>(flags: F, argv: readonly string[]): ParsedFlags<F> {
  const values = new Map<string, Value>(Object.entries(flags).map(([name, flag]) => [name, flag.default]));
  const given = new Set<string>();
  const rest = [...argv];
  const failure = (message: string) => ({ kind: "error", message }) as const;
  for (let argument = rest[0]; argument !== undefined && /^-./s.test(argument); argument = rest[0]) {
    rest.shift();
    if (argument === "--") break;
    const match = /^--?([^-=][^=]*)(?:=(.*))?$/s.exec(argument);
    if (match === null) return failure(`bad flag syntax: ${argument}`);
    const [, name = "", inline] = match;
    const flag = Object.hasOwn(flags, name) ? flags[name] : undefined;
    if (flag === undefined) {
      return name === "help" || name === "h" ? { kind: "help" } : failure(`flag provided but not defined: -${name}`);
    }
    const text = inline ?? (flag.kind === "bool" ? "true" : rest.shift());
    if (text === undefined) return failure(`flag needs an argument: -${name}`);
    const converted = convert(flag, text);
    if ("error" in converted) {
      const what = flag.kind === "bool" ? "invalid boolean value" : "invalid value";
      const where = flag.kind === "bool" ? `-${name}` : `flag -${name}`;
      return failure(`${what} ${JSON.stringify(text)} for ${where}: ${converted.error}`);
    }
    const former = flag.kind === "list" && given.has(name) ? (values.get(name) as readonly string[]) : [];
    values.set(name, flag.kind === "list" ? [...former, text] : converted.value);
    given.add(name);
  }
  return { kind: "parsed", values: Object.fromEntries(values) as FlagValues<F>, given, positional: rest };
}

/** A variable whose text its flag cannot read. */
export interface BadVariable {
  readonly variable: string;
  readonly text: string;
  readonly reason: string;
}

/**
 * Flags that the command line left alone take their value from `<prefix>_<NAME>`, upper case and with `_` for `-`. An empty
 * variable counts as absent; one that cannot be read leaves the default.
 */
export function flagsFromEnvironment<F extends Flags>(
  flags: F,
  parsed: { readonly values: FlagValues<F>; readonly given: ReadonlySet<string> },
  prefix: string,
  env: Readonly<Record<string, string | undefined>>,
): { readonly values: FlagValues<F>; readonly given: ReadonlySet<string>; readonly bad: readonly BadVariable[] } {
  const values = new Map<string, Value>(Object.entries(parsed.values));
  const given = new Set(parsed.given);
  const bad: BadVariable[] = [];
  for (const [name, flag] of Object.entries(flags)) {
    const variable = `${prefix}_${name.toUpperCase().replaceAll("-", "_")}`;
    const text = env[variable];
    if (parsed.given.has(name) || text === undefined || text === "") continue;
    const converted = convert(flag, text);
    if ("error" in converted) {
      bad.push({ variable, text, reason: converted.error });
    } else {
      values.set(name, converted.value);
      given.add(name);
    }
  }
  return { values: Object.fromEntries(values) as FlagValues<F>, given, bad };
}

/** Every flag with what it is for and its default, sorted by name. */
export function formatFlags(flags: Flags): string {
  const lines: string[] = [];
  for (const [name, flag] of Object.entries(flags).toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const isZero = ["", false, 0].includes(flag.default as never) || flag.kind === "list";
    lines.push(flag.kind === "bool" ? `  --${name}` : `  --${name}=${flag.value}`);
    lines.push(`        ${flag.help}${isZero ? "" : ` (default ${flag.default})`}`);
  }
  return `${lines.join("\n")}\n`;
}

function convert(flag: Flag, text: string): Converted {
  if (flag.kind === "string") return { value: text };
  if (flag.kind === "list") return { value: [text] };
  return flag.kind === "bool" ? parseGoBool(text) : parseGoInt(text);
}

/** `strconv.ParseBool`. */
function parseGoBool(text: string): Converted {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return { value: true };
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return { value: false };
  return { error: "parse error" };
}

/** Sign, base prefix and digits of `strconv.ParseInt(text, 0, 64)`; an underscore stands between two digits or after the prefix. */
const GO_INT =
  /^([+-]?)(?:(0x)_?([0-9a-f]+(?:_[0-9a-f]+)*)|(0b)_?([01]+(?:_[01]+)*)|(0o|0)_?([0-7]+(?:_[0-7]+)*)|(0|[1-9]\d*(?:_\d+)*))$/i;

/** `strconv.ParseInt(text, 0, 64)`, and no larger than a number of ours is exact. */
function parseGoInt(text: string): Converted {
  const match = GO_INT.exec(text);
  if (match === null) return { error: "parse error" };
  const [, sign, , hex, , binary, , octal, decimal] = match;
  const digits =
    hex !== undefined
      ? `0x${hex}`
      : binary !== undefined
        ? `0b${binary}`
        : octal !== undefined
          ? `0o${octal}`
          : decimal;
  const magnitude = Number((digits ?? "").replaceAll("_", ""));
  if (!Number.isSafeInteger(magnitude)) return { error: "value out of range" };
  return { value: sign === "-" ? 0 - magnitude : magnitude };
}
