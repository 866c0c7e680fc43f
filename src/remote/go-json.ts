/** JSON exactly as Go's encoding/json writes it to a stream: no character that HTML knows, and a newline at the end. */
export function formatGoJson(value: unknown): string {
  return `${escapeHtml(JSON.stringify(value))}\n`;
}

/** The same for a text that is JSON already. */
export function escapeHtml(json: string): string {
  return json.replace(/[<>&\u2028\u2029]/g, (character) => {
    const code = character.charCodeAt(0).toString(16).padStart(4, "0");
    return `\\u${code}`;
  });
}

/** A time as Go writes it: RFC 3339 without zeros at the end of the fraction. Its zero time stands for no end. */
export function formatGoTime(time: Date | undefined): string {
  return time === undefined ? GO_ZERO_TIME : time.toISOString().replace(/\.?0*Z$/, "Z");
}

export const GO_ZERO_TIME = "0001-01-01T00:00:00Z";

/**
 * What Go's json.Unmarshal says of a text that is no JSON. Scripts have been written against such lines.
 * Undefined if it is JSON to Go, too.
 */
export function goSyntaxError(text: string): string | undefined {
  const fault = new Scanner(text).fault();
  if (fault === undefined) return undefined;
  if (fault.at >= text.length) return "unexpected end of JSON input";
  return `invalid character ${quoted(text.slice(fault.at))} ${fault.context}`;
}

function quoted(rest: string): string {
  const character = String.fromCodePoint(rest.codePointAt(0) ?? 0);
  if (character === "'") return `'\\''`;
  if (character === '"') return `'"'`;
  return `'${JSON.stringify(character).slice(1, -1)}'`;
}

interface Fault {
  readonly at: number;
  readonly context: string;
}

/** How deep Go reads. */
const DEEPEST = 10_000;

/** Go's scanner, by what it expects where. */
class Scanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  fault(): Fault | undefined {
    try {
      this.#value(0);
      this.#space();
      if (this.#at < this.#text.length) this.#fail("after top-level value");
      return undefined;
    } catch (fault) {
      if (fault instanceof Error) throw fault;
      return fault as Fault;
    }
  }

  #fail(context: string): never {
    const fault: Fault = { at: this.#at, context };
    throw fault;
  }

  #peek(): string {
    return this.#text[this.#at] ?? "";
  }

  #space(): void {
    while (/^[ \t\r\n]$/.test(this.#peek())) this.#at++;
  }

  #value(depth: number): void {
    this.#space();
    const character = this.#peek();
    if (depth > DEEPEST) this.#fail("exceeded max depth");
    if (character === "{") this.#object(depth);
    else if (character === "[") this.#array(depth);
    else if (character === '"') this.#string();
    else if (/^[-0-9]$/.test(character)) this.#number();
    else if (character === "t") this.#literal("true");
    else if (character === "f") this.#literal("false");
    else if (character === "n") this.#literal("null");
    else this.#fail("looking for beginning of value");
  }

  #object(depth: number): void {
    this.#at++;
    this.#space();
    if (this.#peek() === "}") {
      this.#at++;
      return;
    }
    for (;;) {
      this.#space();
      if (this.#peek() !== '"') this.#fail("looking for beginning of object key string");
      this.#string();
      this.#space();
      if (this.#peek() !== ":") this.#fail("after object key");
      this.#at++;
      this.#value(depth + 1);
      this.#space();
      const end = this.#peek();
      if (end !== "," && end !== "}") this.#fail("after object key:value pair");
      this.#at++;
      if (end === "}") return;
    }
  }

  #array(depth: number): void {
    this.#at++;
    this.#space();
    if (this.#peek() === "]") {
      this.#at++;
      return;
    }
    for (;;) {
      this.#value(depth + 1);
      this.#space();
      const end = this.#peek();
      if (end !== "," && end !== "]") this.#fail("after array element");
      this.#at++;
      if (end === "]") return;
    }
  }

  #string(): void {
    for (this.#at++; this.#peek() !== '"'; this.#at++) {
      if (this.#peek() === "" || this.#peek() < " ") this.#fail("in string literal");
      if (this.#peek() === "\\") this.#escape();
    }
    this.#at++;
  }

  #escape(): void {
    this.#at++;
    if (this.#peek() !== "u") {
      if (!/^["\\/bfnrt]$/.test(this.#peek())) this.#fail("in string escape code");
      return;
    }
    for (let digit = 0; digit < 4; digit++) {
      this.#at++;
      if (!/^[0-9a-fA-F]$/.test(this.#peek())) this.#fail("in \\u hexadecimal character escape");
    }
  }

  #number(): void {
    if (this.#peek() === "-") {
      this.#at++;
      if (!/^\d$/.test(this.#peek())) this.#fail("in numeric literal");
    }
    if (this.#peek() === "0") this.#at++;
    else this.#digits();
    if (this.#peek() === ".") {
      this.#at++;
      if (!/^\d$/.test(this.#peek())) this.#fail("after decimal point in numeric literal");
      this.#digits();
    }
    if (this.#peek() !== "e" && this.#peek() !== "E") return;
    this.#at++;
    if (this.#peek() === "+" || this.#peek() === "-") this.#at++;
    if (!/^\d$/.test(this.#peek())) this.#fail("in exponent of numeric literal");
    this.#digits();
  }

  #digits(): void {
    while (/^\d$/.test(this.#peek())) this.#at++;
  }

  #literal(word: string): void {
    for (let index = 1; index < word.length; index++) {
      this.#at++;
      if (this.#peek() !== word[index]) this.#fail(`in literal ${word} (expecting ${quoted(word.slice(index))})`);
    }
    this.#at++;
  }
}
