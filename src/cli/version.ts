import manifest from "../../package.json" with { type: "json" };

/** Of the commit that the build was made from, "" if it knew none; there is no such thing where the sources run. */
declare const FLANNEL_COMMIT: string | undefined;
/** Of a release that is not package.json's. */
declare const FLANNEL_VERSION: string | undefined;

/** Of this flannel, as released. */
export const version: string = typeof FLANNEL_VERSION === "undefined" ? manifest.version : FLANNEL_VERSION;

const commit = typeof FLANNEL_COMMIT === "undefined" ? "" : FLANNEL_COMMIT;

/** What `--version` prints: `0.1.0 (commit 2a44d98d1c55)`. */
export const versionLine: string = commit === "" ? version : `${version} (commit ${commit})`;
