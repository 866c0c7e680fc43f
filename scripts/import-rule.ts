import { posix } from "node:path";
import { PACKAGE_ROOMS, PURE_ROOMS, ROOMS, THREAD_ENTRIES } from "./rooms.ts";

/** Text of every source file by its path below src/, with `/`. */
export type Sources = ReadonlyMap<string, string>;

/** Every import that breaks the rule, each a line for people; then every cycle of files. */
export function brokenImports(sources: Sources): readonly string[] {
  const graph = new Map<string, readonly string[]>();
  const broken: string[] = [];
  for (const [file, text] of sources) {
    const specifiers = importsOf(text);
    const files = specifiers
      .filter((specifier) => specifier.startsWith("."))
      .map((specifier) => resolve(file, specifier));
    graph.set(
      file,
      files.filter((target) => sources.has(target)),
    );
    for (const target of files) {
      const reason = whyNotFile(file, target);
      if (reason !== undefined) broken.push(`src/${file} imports ${posix.normalize(`src/${target}`)}: ${reason}`);
    }
    for (const specifier of specifiers.filter((name) => !name.startsWith("."))) {
      const reason = whyNotPackage(file, specifier);
      if (reason !== undefined) broken.push(`src/${file} imports ${specifier}: ${reason}`);
    }
  }
  return [...broken, ...cycles(graph).map((cycle) => `cycle: ${cycle.map((file) => `src/${file}`).join(" → ")}`)];
}

/** What a source file imports, re-exports, imports lazily, asks for the type of, or starts as a thread. */
export function importsOf(text: string): readonly string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
  const forms = [
    /^\s*(?:import|export)\b[^;"'`]*?\bfrom\s*["']([^"']+)["']/gm,
    /^\s*import\s*["']([^"']+)["']/gm,
    /\bimport\(\s*["']([^"']+)["']/g,
    /\bnew URL\(\s*["'](\.[^"']+\.ts)["']\s*,\s*import\.meta\.url/g,
  ];
  return forms.flatMap((form) => Array.from(code.matchAll(form), (match) => match[1] ?? ""));
}

function resolve(file: string, specifier: string): string {
  return posix.join(posix.dirname(file), specifier);
}

function roomOf(file: string): string {
  return file.split("/")[0] ?? "";
}

/** Tests and what they stand on: fakes and the suites that several implementations run. */
function isForTests(file: string): boolean {
  return file.endsWith(".test.ts") || isFake(file) || /conformance|fixtures/.test(file);
}

/** A stand-in that any room's tests may use. */
function isFake(file: string): boolean {
  return /^fake-|^memory-/.test(posix.basename(file));
}

function whyNotFile(file: string, target: string): string | undefined {
  if (target.endsWith(".test.ts")) return "nothing imports a test";
  if (target.startsWith("../")) return target === "../package.json" ? undefined : "src/ stands on its own";
  if (isForTests(target) && !isFake(target) && !isForTests(file)) return "it is there for tests";
  const from = roomOf(file);
  const allowed = ROOMS[from];
  if (allowed === undefined) return `${from} is no room of scripts/rooms.ts`;
  if (THREAD_ENTRIES.includes(file)) return undefined;
  if (allowed === "all" || roomOf(target) === from) return undefined;
  if (isForTests(file) && isFake(target)) return undefined;
  if (allowed.some((entry) => target === entry || target.startsWith(`${entry}/`))) return undefined;
  const some = allowed.filter((entry) => entry.startsWith(`${roomOf(target)}/`));
  return some.length > 0
    ? `${from} may import only ${some.join(", ")} of that room`
    : `${from} may not import ${roomOf(target)}`;
}

function whyNotPackage(file: string, specifier: string): string | undefined {
  if (isForTests(file)) return undefined;
  if (/^(vitest|fast-check)\b/.test(specifier)) return "only tests use it";
  const room = roomOf(file);
  if (specifier.startsWith("node:"))
    return PURE_ROOMS.includes(room) ? `${room} is pure: nothing from outside` : undefined;
  const rooms = PACKAGE_ROOMS[specifier];
  return rooms === undefined || rooms.includes(room) ? undefined : `only ${rooms.join(" and ")} may use it`;
}

/** One cycle for each import that closes one. */
function cycles(graph: ReadonlyMap<string, readonly string[]>): readonly (readonly string[])[] {
  const found: string[][] = [];
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string) => {
    const at = path.indexOf(file);
    if (at >= 0) found.push([...path.slice(at), file]);
    if (at >= 0 || done.has(file)) return;
    path.push(file);
    for (const target of graph.get(file) ?? []) visit(target);
    path.pop();
    done.add(file);
  };
  for (const file of graph.keys()) visit(file);
  return found;
}
