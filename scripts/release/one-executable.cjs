// The one executable of a release: which program it is says the name that it is called by.
const { basename } = require("node:path");

/** Programs, by the names that they are called by; `flannel` is the CNI plugin's name in a network's config, too. */
function program(name, env) {
  if (name === "flanneld") return "flanneld";
  if (name === "flannel-cni" || env.CNI_COMMAND) return "flannel-cni";
  return "flannel";
}

const programs = {
  // oxlint-disable-next-line import/no-unassigned-import -- it is a program
  flanneld: () => require("../../src/cli/flanneld.ts"), // at once: what it begins with is to listen to signals
  flannel: () => require("./embedded-program.cjs").run("flannel.cjs"),
  "flannel-cni": () => require("./embedded-program.cjs").run("flannel-cni.cjs"),
};

programs[program(basename(process.argv[1] ?? ""), process.env)]();
