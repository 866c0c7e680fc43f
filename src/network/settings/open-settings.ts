import { type Layer, layer } from "../../dataplane/table.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Logger } from "../../lib/logger.ts";
import type { HostSettingsPolicy } from "../network-options.ts";
import { type HostSetting, hostSettings } from "./needs.ts";
import { type NetworkOnHost, readNeeds } from "./read-needs.ts";
import { SettingsTable } from "./settings-table.ts";

/** What a network needs of this host's settings. */
export interface NetworkSettings {
  readonly settings: readonly HostSetting[];
  readonly table: SettingsTable;
  /** To be kept so; none if that was not asked for. */
  readonly layers: readonly Layer[];
}

export async function openSettings(
  network: Omit<NetworkOnHost, "hasServices">,
  policy: HostSettingsPolicy | undefined,
  { kernel, logger, signal }: Abortable & { readonly kernel: Kernel; readonly logger: Logger },
): Promise<NetworkSettings> {
  const needs = await readNeeds(kernel, { ...network, hasServices: policy?.hasServices ?? false }, { signal });
  const settings = hostSettings(needs);
  const table = new SettingsTable(settings, { kernel, record: policy?.record, logger });
  return { settings, table, layers: policy?.record === undefined ? [] : [layer(table, table.rows)] };
}
