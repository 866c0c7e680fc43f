import { expect, test } from "vitest";
import { brokenImports, importsOf } from "./import-rule.ts";

function broken(files: Readonly<Record<string, string>>): readonly string[] {
  return brokenImports(new Map(Object.entries(files)));
}

test("importsOf() finds every form of import", () => {
  const text = `
    import { a } from "./a.ts";
    import type { B } from './b.ts';
    import {
      type C,
      c,
    } from "./c.ts";
    import "./d.ts";
    export { e } from "./e.ts";
    export * from "./f.ts";
    const g = await import("./g.ts");
    type H = import("./h.ts").H;
    new Worker(new URL("./i.ts", import.meta.url));
  `;
  expect(importsOf(text).toSorted()).toEqual(Array.from("abcdefghi", (letter) => `./${letter}.ts`));
});

test("importsOf() reads neither comments nor a word that only begins like an import", () => {
  const text = `
    // import { a } from "./a.ts";
    /** Like \`import { b } from "./b.ts"\`:
     * import { c } from "./c.ts"
     */
    important("./d.ts");
    const from = "./e.ts";
  `;
  expect(importsOf(text)).toEqual([]);
});

test("brokenImports() is silent about a room importing a room of its row and its own files", () => {
  expect(
    broken({
      "lib/clock.ts": "",
      "ip/address.ts": `import type { Clock } from "../lib/clock.ts";`,
      "ip/prefix.ts": `import { parse } from "./address.ts";`,
    }),
  ).toEqual([]);
});

test("brokenImports() names both files and the room that may not be imported, for types too", () => {
  const files = { "store/registry.ts": "", "network/run.ts": `import type { Registry } from "../store/registry.ts";` };
  expect(broken(files)).toEqual(["src/network/run.ts imports src/store/registry.ts: network may not import store"]);
});

test("brokenImports() lets a backend have the kernel's ports and nothing else of the kernel", () => {
  const file = (target: string) => ({ [target]: "", "backend/vxlan/type.ts": `import { x } from "../../${target}";` });
  expect(broken(file("kernel/kernel.ts"))).toEqual([]);
  expect(broken(file("kernel/libc.ts"))).toEqual([
    expect.stringMatching(
      /^src\/backend\/vxlan\/type.ts imports src\/kernel\/libc.ts: backend may import only kernel\/kernel.ts.* of that room$/,
    ),
  ]);
});

test("brokenImports() lets the composition roots import everything but tests", () => {
  const imports = `import { a } from "../store/a.ts"; import { b } from "../lib/b.ts";`;
  expect(broken({ "store/a.ts": "", "lib/b.ts": "", "cli/main.ts": imports })).toEqual([]);
  expect(broken({ "lib/b.test.ts": "", "cli/main.ts": `import "../lib/b.test.ts";` })).toEqual([
    "src/cli/main.ts imports src/lib/b.test.ts: nothing imports a test",
  ]);
});

test("brokenImports() gives fakes of any room to tests, and to nobody else", () => {
  const files = (user: string) => ({
    "kernel/fake-kernel.ts": "",
    [user]: `import { fake } from "../kernel/fake-kernel.ts";`,
  });
  expect(broken(files("backend/peers.test.ts"))).toEqual([]);
  expect(broken(files("backend/peers.ts"))).toHaveLength(1);
});

test("brokenImports() keeps conformance suites and test libraries out of the program", () => {
  expect(broken({ "store/registry-conformance.ts": `import { test } from "vitest";` })).toEqual([]);
  expect(broken({ "store/a-conformance.ts": "", "store/b.ts": `import { run } from "./a-conformance.ts";` })).toEqual([
    "src/store/b.ts imports src/store/a-conformance.ts: it is there for tests",
  ]);
  expect(broken({ "store/b.ts": `import fc from "fast-check";` })).toEqual([
    "src/store/b.ts imports fast-check: only tests use it",
  ]);
});

test("brokenImports() refuses a way out of src/, a folder that is no room, and I/O in a pure room", () => {
  expect(broken({ "lib/a.ts": `import { x } from "../../test/support/x.ts";` })).toEqual([
    "src/lib/a.ts imports test/support/x.ts: src/ stands on its own",
  ]);
  expect(broken({ "lib/x.ts": "", "utils/a.ts": `import { x } from "../lib/x.ts";` })).toEqual([
    "src/utils/a.ts imports src/lib/x.ts: utils is no room of scripts/rooms.ts",
  ]);
  expect(broken({ "ip/a.ts": `import { readFileSync } from "node:fs";` })).toEqual([
    "src/ip/a.ts imports node:fs: ip is pure: nothing from outside",
  ]);
});

test("brokenImports() lets only the doors use a package that has one", () => {
  expect(broken({ "kernel/libc.ts": `import koffi from "koffi";` })).toEqual([]);
  expect(broken({ "store/libc.ts": `import koffi from "koffi";` })).toHaveLength(1);
});

test("brokenImports() shows a cycle of files from end to end", () => {
  const files = {
    "lib/a.ts": `import { b } from "./b.ts";`,
    "lib/b.ts": `import type { c } from "./c.ts";`,
    "lib/c.ts": `export { a } from "./a.ts";`,
    "lib/d.ts": `import { a } from "./a.ts";`,
  };
  expect(broken(files)).toEqual(["cycle: src/lib/a.ts → src/lib/b.ts → src/lib/c.ts → src/lib/a.ts"]);
});
