// Stands in the built flanneld for `import("./flanneld-main.ts")`: the program with the machine's own form of every function, made by
// the build, so that a start compiles nothing. Node's own compile cache would keep only what runs while a file is loaded.
const { readFileSync } = require("node:fs");
const { constants, Script } = require("node:vm");

/** Of the mark at the end of the program and at the beginning of what was compiled from it: only both together are of use. */
const MARK = 16;

const filename = `${__dirname}/flanneld-main.cjs`;
const source = readFileSync(filename, "latin1"); // the build writes ASCII

function compiled() {
  try {
    const file = readFileSync(`${__dirname}/flanneld-main.compiled`);
    return file.toString("latin1", 0, MARK) === source.slice(-MARK) ? file.subarray(MARK) : undefined;
  } catch {
    return undefined; // then it takes 40 ms longer
  }
}

const script = new Script(source, {
  filename,
  cachedData: compiled(),
  importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
});
script.runInThisContext()(exports, require, module, filename, __dirname);
