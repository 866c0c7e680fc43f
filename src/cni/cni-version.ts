import { CNI_CODE, CniError } from "./cni-error.ts";

/** Of the CNI specification, oldest first. We pass results through as they are, so that every version is served alike. */
export const SUPPORTED_VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

export type CniVersion = (typeof SUPPORTED_VERSIONS)[number];

export const NEWEST_VERSION: CniVersion = "1.1.0";

/** A config that names no version is of the time before there were any. */
export const OLDEST_VERSION: CniVersion = "0.1.0";

/** Since when there is a command; the others were always there. */
const SINCE: Readonly<Record<string, CniVersion>> = { CHECK: "0.4.0", STATUS: "1.1.0", GC: "1.1.0" };

export function isSupportedVersion(text: string): text is CniVersion {
  return (SUPPORTED_VERSIONS as readonly string[]).includes(text);
}

/** Whether `version` is `since` or newer. */
export function isAtLeast(version: CniVersion, since: CniVersion): boolean {
  return SUPPORTED_VERSIONS.indexOf(version) >= SUPPORTED_VERSIONS.indexOf(since);
}

/** @throws {CniError} if a config of this version knows no such command */
export function requireCommandOf(version: CniVersion, command: string): void {
  const since = SINCE[command];
  if (since !== undefined && !isAtLeast(version, since))
    throw new CniError(
      CNI_CODE.incompatibleVersion,
      `cniVersion ${version} of the network's config has no ${command}, which came with ${since}`,
    );
}

/** The answer to VERSION. @param asked the version in the request, if it named one */
export function formatVersions(asked: string | undefined): string {
  const cniVersion = asked !== undefined && isSupportedVersion(asked) ? asked : NEWEST_VERSION;
  return `${JSON.stringify({ cniVersion, supportedVersions: SUPPORTED_VERSIONS })}\n`;
}
