import manifest from "../../package.json" with { type: "json" };

/** Of this flannel, as released. */
export const version: string = manifest.version;
