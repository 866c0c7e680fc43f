/** What our clients and servers say to each other besides what 0.7.0's do. In lower case, as Node has them. */
export const HEADERS = {
  /** In requests: the client understands the extended dialect. */
  client: "x-flannel-client",
  /** In requests to watch: after how many seconds to answer even if nothing has happened. */
  patience: "x-flannel-patience",
  /** In requests for a lease: subnets held before. */
  previous: "x-flannel-previous",
  /** In answers: the name of the store's history, so that servers of different stores are not mixed up. */
  store: "x-flannel-store",
  /** In answers: which flannels read the leases of the store. */
  format: "x-flannel-lease-format",
  /** In answers that tell of a failure: its kind. */
  error: "x-flannel-error",
  /** The field of a config that is wrong. */
  field: "x-flannel-field",
} as const;
