/** The version of etcd's API, `--etcd-api`. */
export type EtcdApi = 2 | 3;

/** What one API definitively answered: a time-out is no answer. */
export interface Holdings {
  /** Of any of the networks asked for. */
  readonly hasConfig: boolean;
  readonly hasLeases: boolean;
}

/** `undecided`: neither holds a config yet. `conflict`: hosts work with both, and either choice would cut some of them off. */
export type Choice = { readonly api: EtcdApi; readonly reason: string } | "undecided" | "conflict";

/** Which API of an etcd is flannel's: the one with the config; of two with a config, the one with leases. */
export function chooseEtcdApi(v2: Holdings, v3: Holdings): Choice {
  if (!v2.hasConfig && !v3.hasConfig) return "undecided";
  if (!v3.hasConfig) return { api: 2, reason: "it holds the config" };
  if (!v2.hasConfig) return { api: 3, reason: "it holds the config" };
  if (v2.hasLeases && v3.hasLeases) return "conflict";
  if (v2.hasLeases) return { api: 2, reason: "both hold a config, it holds the leases" };
  if (v3.hasLeases) return { api: 3, reason: "both hold a config, it holds the leases" };
  return { api: 3, reason: "both hold a config and neither a lease" };
}
