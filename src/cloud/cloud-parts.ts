import type { Clock } from "../lib/clock.ts";

/** What the composition root gives every cloud. */
export interface CloudParts {
  readonly clock: Clock;
  /** Where a cloud's own settings are read: `AWS_ENDPOINT_URL_EC2`, `GCE_METADATA_HOST`. */
  readonly env: Readonly<Record<string, string | undefined>>;
}
