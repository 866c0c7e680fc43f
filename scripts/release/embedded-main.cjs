// Stands in the flanneld of a release for `import("./flanneld-main.ts")`.
module.exports = require("./embedded-program.cjs").run("flanneld-main.cjs");
