// Programs inside of the one executable of a release, each with the machine's own form of every function, so that a start compiles
// nothing. Node's own way to do that (useCodeCache) keeps only what runs while a file is loaded.
const { dirname } = require("node:path");
const { getRawAsset } = require("node:sea");
const { constants, Script } = require("node:vm");

/** Runs a program of ours. @returns what it exports */
exports.run = (name) => {
  const script = new Script(Buffer.from(getRawAsset(name)).latin1Slice(), {
    filename: name,
    cachedData: new Uint8Array(getRawAsset(`${name}.compiled`)),
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  if (script.cachedDataRejected) process.emitWarning(`${name} is compiled anew; the build made it for another Node`);
  const module = { exports: {} };
  script.runInThisContext()(module.exports, require, module, process.execPath, dirname(process.execPath));
  return module.exports;
};
